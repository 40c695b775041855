package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/hint"
)

// emptyMeans lists the flags for which an empty value has a meaning, with that meaning. For
// every other flag that takes a value, an empty value is an error. In a script, an empty
// value usually comes from a variable that is not set. Without the error, --policy "$POLICY"
// would then require nothing.
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

// checkEmpty returns an error if a flag of cmd was given with an empty value, or with a list
// that contains an empty value.
func checkEmpty(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if _, means := emptyMeans[f.Name]; err == nil && !means && hasEmpty(f.Value) {
			err = usageError{hint.Add(fmt.Errorf("--%s: %w", f.Name, emptyValue(f.Value.Type())),
				"if the value is from a variable, this variable is not set; leave out the flag if it is not meant")}
		}
	})
	return err
}

// hasEmpty reports whether v is an empty text, an empty list, or a list with an empty
// element.
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

// emptyValue returns the error for an empty value. kind is the name that the help uses for
// the value.
func emptyValue(kind string) error {
	if strings.HasPrefix(kind, "FILE") {
		return errors.New("the file name is empty")
	}
	return errors.New("the value is empty")
}

// onceValue is the value of a text flag that may be given only once. A second value would
// silently replace the first.
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
		return fmt.Errorf("%q is given already, and only one value is allowed", *v.text)
	}
	*v.text, v.given = s, true
	return nil
}

// Type implements [pflag.Value]. The help does not show this name, but the name in flagTable.
func (v *onceValue) Type() string { return "string" }
