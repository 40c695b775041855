package plan

import (
	"bytes"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
)

func TestPlanFileSize(t *testing.T) {
	var b bytes.Buffer
	if err := Encode(&b, mustPlan(t, randomClosure(t, 5, 1), Options{})); err != nil {
		t.Fatal(err)
	}
	text := strings.TrimSpace(b.String())
	limittest.Around(t, limit.PlanFile, "more than 67108864 bytes", func(n int) error {
		_, err := Decode(strings.NewReader(text + strings.Repeat(" ", n-len(text))))
		return err
	})
}
