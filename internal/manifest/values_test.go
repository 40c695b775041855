package manifest

import (
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
)

// TestConfigValues checks the limit of JSON values in a config.
func TestConfigValues(t *testing.T) {
	limittest.Around(t, limit.ConfigValues, "at most 100000 are read", func(n int) error {
		var c ocispec.Image
		return UnmarshalConfig([]byte(`{"x":[1`+strings.Repeat(",1", n-4)+"]}"), &c)
	})
}
