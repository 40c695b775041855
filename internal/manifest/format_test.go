package manifest

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/oci"
)

// TestFormatDocument checks that docs/format.md quotes the values that the code uses. Authors
// of other programs rely on this document.
func TestFormatDocument(t *testing.T) {
	data, err := os.ReadFile("../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	want := []string{
		sqlValidPaths, sqlRefs, sqlDeleteSelfRefs, sqlDerivationOutputs, sqlSequence, sqlIndexReference, sqlIndexDerivationOutputs,
		strconv.Itoa(sqliteVersion), strconv.Itoa(sqlitePage), "`registrationTime` is " + strconv.Itoa(registrationTime),
		defaultEnv[0], defaultEnv[1], defaultStopSignal, `["` + defaultInit + `"]`, "At most " + strconv.Itoa(maxImageLayers) + " layers",
		"at most " + strconv.Itoa(historyLength) + " bytes", "the line `nixoci-image 2`", "the line `nixoci-index 1`", "\nnixoci-system 2\n", "\nnixoci-init 2\n", "`" + ImageFile + "`",
		AnnotationInit,
		AnnotationRecipe, AnnotationDiffID, AnnotationTarSize, AnnotationCompression, AnnotationToplevel, AnnotationNarHash, AnnotationFacts, AnnotationFormat, AnnotationImage,
	}
	for _, e := range skeleton {
		if e.link == "" {
			want = append(want, "`"+e.name+"/`")
		} else {
			want = append(want, "`"+e.name+"` | 0777 | symlink to `"+e.link+"`")
		}
	}
	for _, system := range closure.Systems() {
		p, err := closure.ParseSystem(system)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, "`"+system+"`", FormatPlatform(p))
	}
	h := guestHealthcheck
	h.Test = []string{"CMD", defaultInit, "health"}
	health, err := oci.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range append(want, string(health)) {
		if !strings.Contains(doc, w) {
			t.Errorf("docs/format.md does not have %q", w)
		}
	}
}
