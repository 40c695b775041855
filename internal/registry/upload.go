package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/retry"
)

// PutLayer implements [oci.Destination]. It sends the blob in one upload session. POST opens the
// session. pack writes the bytes straight to the connection, as the chunked body of one PATCH. The
// digest is known after the last byte, and PUT sends it. If the transfer breaks, PutLayer opens a
// new session and calls pack again. If only the commit fails, PutLayer repeats the commit as long
// as the registry still has the session.
func (r *Repository) PutLayer(ctx context.Context, want *layers.Packed, pack oci.PackFunc) (layers.Packed, error) {
	op := "upload a layer to " + r.repo.Name()
	if want != nil {
		op = fmt.Sprintf("upload layer %s to %s", want.Digest, r.repo.Name())
	}
	release, err := oci.Acquire(ctx, r.limits.sessions)
	if err != nil {
		return layers.Packed{}, err
	}
	defer release()
	u := &upload{r: r, want: want, pack: pack}
	defer u.abandon()
	if err := r.retrier.do(ctx, u.attempt); err != nil {
		return layers.Packed{}, r.fail(op, err)
	}
	r.sawBlob(u.packed.Digest)
	return *u.packed, nil
}

// maxRestarts is the number of times that the client sends a blob again because the registry did
// not accept the bytes that it received. Such an error is rarely temporary, so two more attempts
// are enough.
const maxRestarts = 2

// upload holds the state of one layer's upload.
type upload struct {
	r        *Repository
	want     *layers.Packed
	pack     oci.PackFunc
	session  *url.URL       // where the next request goes; nil if no session is open
	packed   *layers.Packed // the layer, once the session contains it completely; nil before
	restarts int
}

// attempt sends the layer and commits it. If an earlier attempt has sent the layer completely, it
// only commits.
func (u *upload) attempt(ctx context.Context) error {
	if u.packed == nil {
		if err := u.send(ctx); err != nil {
			return err
		}
	}
	return u.commit(ctx)
}

// send sends the layer to a session. After an error the session is closed, unless the registry has
// moved the session to another address.
func (u *upload) send(ctx context.Context) error {
	if u.session == nil {
		var err error
		if u.session, err = u.r.openSession(ctx); err != nil {
			return err
		}
	}
	err := u.transfer(ctx)
	if err == nil {
		return nil
	}
	if _, moved := errors.AsType[movedError](err); !moved {
		u.abandon()
	}
	if forgotten(err) && u.restarts < maxRestarts {
		u.restarts++
		return retry.Again(err)
	}
	return err
}

// commit commits the layer. After an error, the next attempt only repeats the commit, unless commit
// has closed the session.
func (u *upload) commit(ctx context.Context) error {
	err := u.r.commitSession(ctx, u.session, request{}, u.packed.Digest)
	if err == nil {
		u.session = nil
		return nil
	}
	anew, err := u.r.failedCommit(ctx, err, u.packed.Digest, u.packed.Size, &u.restarts)
	if anew {
		u.abandon()
	}
	return err
}

// failedCommit decides what to do after a commit failed with err. If the registry has the blob
// nevertheless, it returns nil. If anew is true, the session is unusable and the client must send
// the whole blob again. restarts counts how often anew was true.
func (r *Repository) failedCommit(ctx context.Context, err error, d digest.Digest, size int64, restarts *int) (anew bool, _ error) {
	if retry.IsFinal(err) || ctx.Err() != nil {
		return false, err
	}
	sendAgain := func() (bool, error) {
		*restarts++
		return true, retry.Again(err)
	}
	if errors.Is(err, errOtherStored) {
		if *restarts == maxRestarts {
			return true, retry.Never(err)
		}
		return sendAgain()
	}
	// Some registries report an error although they stored the blob (jib #4301). Or the registry
	// stored the blob, and its answer was lost.
	look, stop := context.WithTimeout(ctx, lookTimeout)
	defer stop()
	if has, statErr := r.stat(look, d, size); statErr == nil && has {
		return false, nil
	}
	switch s := status(err); {
	case s < 400 || s >= 500 || retry.MayPass(err):
		return false, err // the session may still exist
	case s == http.StatusUnauthorized || s == http.StatusForbidden || *restarts == maxRestarts:
		return false, err
	default: // for other refusals, the bytes may have changed on the way
		return sendAgain()
	}
}

// abandon deletes the session. The bytes in the session are of no use, because a new attempt begins
// with the first byte.
func (u *upload) abandon() {
	if u.session != nil {
		u.r.deleteSession(u.session)
	}
	u.session, u.packed = nil, nil
}

// movedError reports that the registry redirected the upload to another address.
type movedError struct{ error }

func (e movedError) Unwrap() error { return e.error }

// transfer packs the layer and sends its bytes to the session.
func (u *upload) transfer(ctx context.Context) error {
	release, err := oci.Acquire(ctx, u.r.limits.transfers)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(commitTimeout, func() { cancel(errNoAnswer) })
	timer.Stop()
	defer timer.Stop()
	body := newPackBody(ctx, u.pack, func() {
		release() // another layer may be packed while this layer waits for the registry's answer
		timer.Reset(commitTimeout)
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, u.session.String(), body)
	if err != nil {
		return err
	}
	req.ContentLength = -1
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := u.r.client.Do(req)
	var refused error
	if err == nil {
		refused = u.read(resp)
	}
	ended := context.Cause(ctx)
	cancel(nil)
	packed, packErr := body.finish()
	if refused != nil {
		return refused
	}
	if err := u.failure(ctx, body, packErr, err, ended); err != nil {
		return err
	}
	switch {
	case packed.Size != body.written():
		return retry.Never(fmt.Errorf("layer %s: packed %d bytes, sent %d", packed.Digest, packed.Size, body.written()))
	case u.want != nil && packed != *u.want:
		return retry.Never(oci.OtherContent(u.want.Digest, packed.Digest))
	}
	u.packed = &packed
	return nil
}

// read reads the registry's answer to the bytes of the layer. It returns an error if the registry
// refused or redirected the upload. It sets the address for the next request, if the answer has one.
func (u *upload) read(resp *http.Response) error {
	next, noLocation := resp.Location()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent:
		discard(resp)
		if noLocation == nil {
			u.session = next
		}
		return nil
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		discard(resp)
		if noLocation != nil {
			return movedError{errors.New("redirected without a Location")}
		}
		u.session = next
		return movedError{retry.AtOnce(responseError(resp))}
	}
	return responseError(resp)
}

// failure returns the reason why the layer was not sent completely, or nil if it was sent completely.
// packErr is the error of pack, sendErr is the error of the request, and ended is the reason why the
// request's context ended. One fault often causes all three errors, so failure returns the error that
// names the fault.
func (u *upload) failure(ctx context.Context, body *packBody, packErr, sendErr, ended error) error {
	switch {
	case ended != nil && ended != errNoAnswer:
		return ended
	case packErr != nil && !body.broken():
		return retry.Never(packErr) // packing failed, and not the transfer
	case sendErr != nil && ended == errNoAnswer:
		return errNoAnswer
	case sendErr != nil:
		return u.r.transferError(ctx, redactError(sendErr))
	case packErr != nil:
		return retry.Again(fmt.Errorf("the registry answered before the end of the layer: %w", packErr))
	}
	return nil
}

// PutBlob implements [oci.Destination] with two requests: a POST, and a PUT with the whole blob.
func (r *Repository) PutBlob(ctx context.Context, b oci.Blob) error {
	d := b.Descriptor.Digest
	if r.hasSeen(d) {
		return nil
	}
	var session *url.URL
	defer func() {
		if session != nil {
			r.deleteSession(session)
		}
	}()
	restarts := 0
	err := r.retrier.do(ctx, func(ctx context.Context) (err error) {
		if session == nil {
			if session, err = r.openSession(ctx); err != nil {
				return err
			}
		}
		err = r.commitSession(ctx, session, request{body: b.Data, header: map[string]string{"Content-Type": "application/octet-stream"}}, d)
		if err == nil {
			session = nil
			return nil
		}
		throttled := status(err) == http.StatusTooManyRequests // with this status the registry has read no byte
		anew, err := r.failedCommit(ctx, err, d, b.Descriptor.Size, &restarts)
		if err != nil && (anew || !throttled) {
			r.deleteSession(session) // the session may contain a part of the blob
			session = nil
		}
		return err
	})
	if err != nil {
		return r.fail(fmt.Sprintf("upload blob %s to %s", d, r.repo.Name()), err)
	}
	r.sawBlob(d)
	return nil
}

// openSession returns the address of an upload session. It opens a new session unless r.spare
// contains one.
func (r *Repository) openSession(ctx context.Context) (*url.URL, error) {
	r.mu.Lock()
	if n := len(r.spare); n > 0 {
		session := r.spare[n-1]
		r.spare = r.spare[:n-1]
		r.mu.Unlock()
		return session, nil
	}
	r.mu.Unlock()
	resp, err := r.send(ctx, request{method: http.MethodPost, url: r.url("blobs", "uploads", ""),
		header: map[string]string{"Content-Length": "0"}, accept: []int{http.StatusAccepted}})
	if err != nil {
		return nil, err
	}
	discard(resp)
	session, err := resp.Location()
	if err != nil {
		return nil, retry.Again(fmt.Errorf("open an upload session: %w", err))
	}
	return session, nil
}

// commitSession ends an upload. The body of q contains the last bytes, and d is the digest of the
// whole blob.
func (r *Repository) commitSession(ctx context.Context, session *url.URL, q request, d digest.Digest) error {
	u := *session
	if u.RawQuery != "" {
		u.RawQuery += "&" // keep the query byte for byte, because it may be signed
	}
	u.RawQuery += "digest=" + url.QueryEscape(d.String())
	q.method, q.url, q.wait = http.MethodPut, &u, commitTimeout
	q.accept = []int{http.StatusCreated, http.StatusOK, http.StatusAccepted, http.StatusNoContent}
	resp, err := r.send(ctx, q)
	if err != nil {
		return err
	}
	discard(resp)
	return sameDigest(resp, d)
}

// deleteSession asks the registry to delete a session, even after the user interrupted the program.
// It waits at most three seconds. It ignores errors, because registries delete old sessions anyway.
func (r *Repository) deleteSession(session *url.URL) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, session.String(), nil)
	if err != nil {
		return
	}
	if resp, err := r.client.Do(req); err == nil {
		discard(resp)
	}
}

// sameDigest returns an error if the registry reports that it stored another digest than want. It
// ignores a missing or invalid digest.
func sameDigest(resp *http.Response, want digest.Digest) error {
	got := digest.Digest(resp.Header.Get("Docker-Content-Digest"))
	if got == want || got.Validate() != nil || got.Algorithm() != want.Algorithm() {
		return nil
	}
	return fmt.Errorf("%w: %s instead of %s", errOtherStored, got, want)
}

// errOtherStored reports that the registry stored content with another digest than the content that
// the client sent.
var errOtherStored = errors.New("the registry stored something else")
