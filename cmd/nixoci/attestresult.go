package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layout"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/verify"
)

// resultFlags holds the flags that set whether and how verify publishes its result.
type resultFlags struct {
	passed   bool
	failed   bool
	verifier string
	time     string
	to       string // repository for the result, if it is not the repository of the image

	author attest.Author // who signs the result: the private key among the keys of --key, or --keyless
	at     time.Time
}

func (f *resultFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVar(&f.passed, "attest-result", false, "with CLOSURE, and a private --key or --keyless: if verify can make the same image again, sign this result and attach it to the image (SLSA verification summary)")
	fl.BoolVar(&f.failed, "attest-failure", false, "with --attest-result: if the verification fails, sign and attach the result FAILED")
	fl.StringVar(&f.to, "attest-to", "", "repository to attach the result in, for --attest-result, if it is not the image's")
	fl.StringVar(&f.verifier, "verifier-id", "", "URI of the person or machine that verifies, for --attest-result (default: a URI with the hash of the key, or the identity in the certificate)")
	fl.StringVar(&f.time, "attest-time", "", "time of the verification, for --attest-result: RFC 3339, or seconds since 1970 (default: now)")
}

// checkAlone checks whether the flags fit together, before a key is read.
func (f *resultFlags) checkAlone() error {
	switch {
	case f.passed:
	case f.failed:
		return usagef("--attest-failure: give --attest-result, too")
	case f.verifier != "" || f.time != "" || f.to != "":
		return usagef("--verifier-id, --attest-time and --attest-to need --attest-result, which is not given")
	}
	return nil
}

// check checks the flags before the image is read.
func (f *resultFlags) check(ref string, closures []string, log *logrus.Logger) (err error) {
	if !f.passed {
		return nil
	}
	switch {
	case len(closures) == 0:
		return usageError{hint.Add(errors.New("--attest-result: no CLOSURE is given, so nothing of the image is made again"), "name the system or package that the image is made of: nixoci verify REF .#web --attest-result --key FILE")}
	case layout.IsImage(ref):
		return usageError{hint.Add(fmt.Errorf("--attest-result: %s is not in a registry", ref), "nothing can be attached to an image in a file")}
	case f.author == nil:
		return usageError{hint.Add(errors.New("--attest-result: no --key is a private key"), "make a key pair with cosign generate-key-pair, then use --key cosign.key; or sign with a certificate: --keyless")}
	}
	if _, err := attest.PredicateType(f.verifier); f.verifier != "" && err != nil {
		return usagef("--verifier-id %q: not a URI", f.verifier)
	}
	f.at = time.Now()
	if f.time != "" {
		if f.at, err = parseTime("--attest-time", f.time); err != nil {
			return usageError{err}
		}
		if f.at.After(time.Now()) {
			log.Warnf("--attest-time %s is in the future: a statement PASSED does not count before then", f.time)
		}
	}
	return nil
}

// openRepository opens the repository called name. The name is the value of a flag and must
// not contain a tag.
func (a *app) openRepository(name string, o registry.Options) (*registry.Repository, error) {
	ref, err := registry.ParseReference(name)
	if err != nil {
		return nil, usageError{err}
	}
	return registry.Open(ref.Repository, o)
}

// attachedVerificationSummary describes a verification summary that was attached.
type attachedVerificationSummary struct {
	Result   string          `json:"result"`
	Digest   digest.Digest   `json:"digest"` // digest of the manifest that attaches the summary
	Subjects []digest.Digest `json:"subjects"`
}

// publish signs the result of a verification and attaches it to the image that arg
// names.
func (a *app) publish(ctx context.Context, arg string, r *verify.Report, f *verifyFlags) (all []attachedVerificationSummary, err error) {
	not := func(why string) ([]attachedVerificationSummary, error) {
		if !a.quiet {
			a.stderr.Printf("--attest-result: not published%s\n", why)
		}
		return nil, nil
	}
	switch {
	case !f.result.passed:
		return nil, nil
	case !r.OK && !f.result.failed:
		return not("; --attest-failure publishes failures")
	}
	fail := func(err error) ([]attachedVerificationSummary, error) {
		return all, fmt.Errorf("--attest-result: %w", err)
	}
	ref, err := registry.ParseReference(arg)
	if err != nil {
		return fail(err)
	}
	image := ref.Repository.Name()
	policy, err := f.policy.loaded.Resource()
	if err != nil {
		return fail(err)
	}
	summary, verified, err := r.VerificationSummary(image, policy)
	if errors.Is(err, verify.ErrNotRefuted) {
		return not(": " + err.Error() + ". Readers of the result do not know requirements of flags; write them into a policy (--policy)")
	}
	if err != nil {
		return fail(err)
	}
	summary.TimeVerified, summary.Verifier.ID = f.result.at, f.result.verifier
	if summary.Verifier.ID == "" {
		if summary.Verifier.ID, err = attest.AuthorURI(ctx, f.result.author); err != nil {
			return fail(err)
		}
	}
	repo, err := a.openRepository(cmp.Or(f.result.to, image), f.registry.options(a))
	if err != nil {
		return fail(err)
	}
	defer repo.Close()
	if all, err = a.attachVerificationSummaries(ctx, repo, image, verified, &summary, f.result.author); err != nil {
		return fail(err)
	}
	return all, nil
}

// attachVerificationSummaries signs a verification summary about each element of verified, and
// attaches it in repo. The images are in the repository image.
func (a *app) attachVerificationSummaries(ctx context.Context, repo *registry.Repository, image string, verified []verify.Verified, summary *attest.VerificationSummary, by attest.Author) (all []attachedVerificationSummary, err error) {
	for _, v := range verified {
		d, already, err := attest.AttachVerificationSummary(ctx, repo, v.AttachTo, image, v.Subjects, summary, by)
		if err != nil {
			return all, err
		}
		all = append(all, attachedVerificationSummary{summary.Result, d, v.Subjects})
		if !a.quiet {
			done := "attached"
			if already {
				done = "already attached"
			}
			a.stderr.Printf("%s to %s: verification summary %s, signed\n", done, v.AttachTo.Digest, summary.Result)
		}
	}
	return all, nil
}
