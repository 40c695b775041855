package layout

import (
	"errors"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
)

// TestIndexValues checks the limit of JSON values in index.json.
func TestIndexValues(t *testing.T) {
	limittest.Around(t, limit.LayoutValues, "at most 500000 are read", func(n int) error {
		dir := t.TempDir()
		text := `{"schemaVersion":2,"manifests":[],"x":[1` + strings.Repeat(",1", n-9) + "]}"
		writeFiles(t, dir, map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": text})
		_, err := OpenImage("oci:" + dir)
		if err == nil {
			return errors.New("a layout without images was opened")
		}
		if strings.Contains(err.Error(), "JSON values") {
			return err
		}
		return nil
	})
}
