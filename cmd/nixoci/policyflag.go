package main

import (
	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/policy"
)

// policyFlag holds the file with the requirements for verify. Flags can add requirements, but
// they cannot remove a requirement of the policy.
type policyFlag struct {
	file string

	loaded *policy.Loaded // policy that was read; nil if there is none
}

func (f *policyFlag) add(cmd *cobra.Command) {
	cmd.Flags().Var(&onceValue{text: &f.file}, "policy", "file that lists what is required of the image: keys, signatures, statements, rebuilders, settings; flags can only require more")
}

// load reads the policy, if one is given.
func (f *policyFlag) load() (err error) {
	if f.file == "" {
		return nil
	}
	if f.loaded, err = policy.Load(f.file); err != nil {
		return usageError{err} // wrong usage, because a policy replaces flags
	}
	return nil
}
