package registry

import (
	"errors"
	"net/http"

	"github.com/nixoci/nixoci/internal/retry"
)

// This file decides how the client reacts to an error response of a registry. It reads the status
// and the error codes of the distribution specification ("Error Codes"). failedCommit in upload.go
// decides for the end of an upload.

// MayPass implements [retry.ServerError].
func (e *ResponseError) MayPass() bool {
	return e.Code == "TOOMANYREQUESTS" || retry.StatusMayPass(e.Status)
}

// forgotten reports whether the registry no longer has the upload session, or whether the session
// contains another number of bytes than the client sent.
func forgotten(err error) bool {
	e, ok := errors.AsType[*ResponseError](err)
	return ok && (e.Code == "BLOB_UPLOAD_UNKNOWN" || e.Status == http.StatusRequestedRangeNotSatisfiable || e.Status == http.StatusNotFound)
}

// corrupted reports whether another attempt with the same manifest may succeed. A registry answers
// with these codes if the manifest changed on the way. Distribution 2.8 with its filesystem driver
// also answers with them while another push writes the link file of a blob. The link file is empty
// for a moment, so the registry finds an invalid digest or no blob.
func corrupted(err error) bool {
	e, ok := errors.AsType[*ResponseError](err)
	if !ok {
		return false
	}
	switch e.Code {
	case "DIGEST_INVALID", "MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN":
		return true
	}
	return false
}

// refusedManifest reports whether a registry may have refused a manifest because
// a blob is missing. Registries use several status codes for this.
func refusedManifest(err error) bool {
	switch status(err) {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity:
		return true
	}
	return false
}
