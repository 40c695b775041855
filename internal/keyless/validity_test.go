package keyless_test

import (
	"strings"
	"testing"
	"time"

	bundlev1 "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	trustrootv1 "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nixoci/nixoci/internal/keyless"
	"github.com/nixoci/nixoci/internal/keyless/keylesstest"
)

// TestValidity checks the time ranges in which the keys and authorities of a trust root are valid. A
// signature from such a time range must count for ever. An earlier or later signature must not count,
// because somebody may have stolen an old key.
func TestValidity(t *testing.T) {
	s := deployment(t)
	signed := func(rekor int, ago time.Duration) *bundlev1.Bundle {
		at := func() time.Time { return time.Now().Add(-ago) }
		s.CertificateTime, s.LogTime, s.StampTime = at, at, at
		defer func() { s.CertificateTime, s.LogTime, s.StampTime = time.Now, time.Now, time.Now }()
		all := services(s)
		all.Logs[0].Version = rekor
		return sign(t, all, tokenOf(t, s))
	}
	noPromise := func(b *bundlev1.Bundle) *bundlev1.Bundle {
		return edit(b, func(b *bundlev1.Bundle) { b.VerificationMaterial.TlogEntries[0].InclusionPromise = nil })
	}
	fulcio := func(r *trustrootv1.TrustedRoot) *commonv1.TimeRange { return r.CertificateAuthorities[0].ValidFor }
	stamps := func(r *trustrootv1.TrustedRoot) *commonv1.TimeRange { return r.TimestampAuthorities[0].ValidFor }
	log := func(r *trustrootv1.TrustedRoot) *commonv1.TimeRange { return r.Tlogs[0].PublicKey.ValidFor }
	ctlog := func(r *trustrootv1.TrustedRoot) *commonv1.TimeRange { return r.Ctlogs[0].PublicKey.ValidFor }
	now1, now2, old1, old2 := signed(1, 0), signed(2, 0), signed(1, 20*time.Hour), signed(2, 20*time.Hour)
	for name, tt := range map[string]struct {
		part     func(*trustrootv1.TrustedRoot) *commonv1.TimeRange
		now, old *bundlev1.Bundle
		want     string
	}{
		"certificate authority":          {fulcio, now1, old1, ""},
		"timestamp authority":            {stamps, now2, old2, ""},
		"Rekor 1":                        {log, now1, old1, "the key of the log was not valid"},
		"Rekor 1, without a signed time": {log, noPromise(now1), noPromise(old1), "the key of the log was not valid"},
		"Rekor 2":                        {log, now2, old2, "the key of the log was not valid"},
		"log of certificates":            {ctlog, now1, old1, "no log of certificates"},
	} {
		t.Run(name, func(t *testing.T) {
			check := func(b *bundlev1.Bundle, start, end time.Duration) error {
				var r trustrootv1.TrustedRoot
				if err := protojson.Unmarshal(s.TrustedRoot(keylesstest.Root{}), &r); err != nil {
					t.Fatal(err)
				}
				tt.part(&r).Start = timestamppb.New(time.Now().Add(start))
				tt.part(&r).End = timestamppb.New(time.Now().Add(end))
				data, err := protojson.Marshal(&r)
				if err != nil {
					t.Fatal(err)
				}
				root, err := keyless.ParseTrustRoot(data)
				if err != nil {
					t.Fatal(err)
				}
				_, err = root.Check(b, nil)
				return err
			}
			if err := check(tt.now, -48*time.Hour, time.Hour); err != nil {
				t.Errorf("a new signature: %v", err)
			}
			if err := check(tt.old, -48*time.Hour, -10*time.Hour); err != nil {
				t.Errorf("an old signature: %v", err)
			}
			if err := check(tt.now, -48*time.Hour, -10*time.Hour); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("a signature after the end: %v", err)
			}
			if err := check(tt.old, -10*time.Hour, time.Hour); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("a signature before the start: %v", err)
			}
		})
	}
}
