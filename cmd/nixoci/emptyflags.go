package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/hint"
)

// emptyMeans are the flags for which an empty value means something. For all others
// that take a value it is an error: in a script it comes from a variable that is not
// set, and without the error, --policy "$POLICY" would require nothing.
var emptyMeans = map[string]string{
	"cmd":         "an empty word",
	"created":     "$SOURCE_DATE_EPOCH, as without the flag",
	"entrypoint":  "no entrypoint",
	"health-cmd":  "an empty word",
	"password":    "nixoci asks for it",
	"stop-signal": "the default, instead of that of a specification",
	"user":        "the default, instead of that of a specification",
	"username":    "nixoci asks for it",
	"workdir":     "the default, instead of that of a specification",
}

// checkEmpty refuses flags of cmd that were given with an empty value, or of whose
// values one is empty.
func checkEmpty(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if _, means := emptyMeans[f.Name]; err == nil && !means && hasEmpty(f.Value) {
			err = usageError{hint.Add(fmt.Errorf("--%s: %w", f.Name, emptyValue(f.Value.Type())),
				"if the value is from a variable, this variable is not set; leave out the flag if it is not meant")}
		}
	})
	return err
}

// hasEmpty reports whether v is an empty text, or a list that has one or nothing.
func hasEmpty(v pflag.Value) bool {
	list, ok := v.(pflag.SliceValue)
	if !ok {
		return v.String() == ""
	}
	values := list.GetSlice()
	for _, s := range values {
		if s == "" {
			return true
		}
	}
	return len(values) == 0
}

// emptyValue is the error for an empty value. kind is its name in the help.
func emptyValue(kind string) error {
	if strings.HasPrefix(kind, "FILE") {
		return errors.New("the file name is empty")
	}
	return errors.New("the value is empty")
}

// onceValue is a text that can be given once. If it were given twice, the first one
// would be ignored.
type onceValue struct {
	text  *string
	given bool
}

func (v *onceValue) String() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

func (v *onceValue) Set(s string) error {
	if v.given {
		return fmt.Errorf("%q is given already, and one is allowed", *v.text)
	}
	*v.text, v.given = s, true
	return nil
}

// Type implements [pflag.Value]. The help shows the name in flagTable instead.
func (v *onceValue) Type() string { return "string" }
