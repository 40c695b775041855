package plan

import (
	"bytes"
	"testing"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
)

func TestPlanFileSize(t *testing.T) {
	var b bytes.Buffer
	if err := Encode(&b, mustPlan(t, randomClosure(t, 5, 1), Options{})); err != nil {
		t.Fatal(err)
	}
	text := bytes.TrimSpace(b.Bytes())
	padded := append(text, bytes.Repeat([]byte(" "), limit.PlanFile+1-len(text))...)
	limittest.Around(t, limit.PlanFile, "more than 67108864 bytes", func(n int) error {
		_, err := Decode(bytes.NewReader(padded[:n]))
		return err
	})
}
