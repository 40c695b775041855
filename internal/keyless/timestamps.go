package keyless

import (
	"encoding/asn1"
	"errors"
	"fmt"

	bundlev1 "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"google.golang.org/protobuf/proto"

	"github.com/nixoci/nixoci/internal/limit"
)

// maxStampDepth is the greatest depth of ASN.1 values in a timestamp. Real timestamps have a depth
// of about 15.
const maxStampDepth = 40

// CheckSize refuses a bundle with a long certificate, log entry or timestamp. The libraries that read
// them need many times as much memory. The signed content may be long.
func CheckSize(b *bundlev1.Bundle) error {
	if n := proto.Size(b.GetVerificationMaterial()); n > limit.Proofs {
		return fmt.Errorf("its certificate, log entries and timestamps have %d bytes, at most %d are read", n, limit.Proofs)
	}
	return nil
}

// checkStamps refuses timestamps that Sigstore's library must not read. Everybody who can write to the
// repository can attach such a timestamp. The library's ASN.1 reader (digitorus/pkcs7, ber.go) accepts
// a value that ends after the value that contains it. The reader then reads the same bytes several
// times, and every 4 more bytes double its time. It also has no limit for the depth.
func checkStamps(b *bundlev1.Bundle) error {
	stamps := b.GetVerificationMaterial().GetTimestampVerificationData().GetRfc3161Timestamps()
	if len(stamps) > limit.Timestamps {
		return fmt.Errorf("it has %d timestamps, at most %d are read", len(stamps), limit.Timestamps)
	}
	for _, s := range stamps {
		if !isDER(s.GetSignedTimestamp(), maxStampDepth) {
			return errors.New("its timestamp is not valid: it is not in the form DER (ASN.1)")
		}
	}
	return nil
}

// isDER reports whether data is a sequence of ASN.1 values with at most depth levels of values. No
// value may end after the value that contains it.
func isDER(data []byte, depth int) bool {
	for len(data) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(data, &v)
		if err != nil || depth == 0 || v.IsCompound && !isDER(v.Bytes, depth-1) {
			return false
		}
		data = rest
	}
	return true
}
