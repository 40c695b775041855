package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/hint"
)

// argument describes one argument of a command, as named in the usage line.
type argument struct {
	name           string
	optional, many bool
}

// argumentsOf parses the arguments in the usage line, such as "push REF [CLOSURE...]". So the
// check always agrees with the documentation.
func argumentsOf(cmd *cobra.Command) (all []argument) {
	words := strings.Fields(cmd.Use)
	for i := 1; i < len(words); i++ {
		w := words[i]
		if strings.HasPrefix(w, "-") {
			i++ // skip a flag and the name of its value
			continue
		}
		a := argument{name: w}
		if inner, ok := strings.CutPrefix(a.name, "["); ok {
			a.name, a.optional = strings.TrimSuffix(inner, "]"), true
		}
		a.name, a.many = strings.CutSuffix(a.name, "...")
		all = append(all, a)
	}
	return all
}

// checkArguments compares the number of arguments with the usage line.
func checkArguments(cmd *cobra.Command, args []string) error {
	names := argumentsOf(cmd)
	if len(names) == 0 && cmd.HasSubCommands() {
		return noCommand(cmd, args)
	}
	for i, n := range names {
		if i >= len(args) && !n.optional {
			return missing(cmd, strings.ReplaceAll(n.name, "|", " or "))
		}
		if n.many {
			return nil
		}
	}
	if len(args) > len(names) {
		return usageError{hint.Add(fmt.Errorf("%s: %q is one argument too many", nameOf(cmd), args[len(names)]), "usage: "+cmd.UseLine())}
	}
	return nil
}

// nameOf returns the name of a command for messages. The result does not contain "nixoci",
// because every message begins with that word.
func nameOf(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}

// missing returns the error for a missing argument, with an example of the command.
func missing(cmd *cobra.Command, what string) error {
	err := fmt.Errorf("%s: %s is missing", nameOf(cmd), what)
	advice := "usage: " + cmd.UseLine()
	if example, _, _ := strings.Cut(strings.TrimSpace(cmd.Example), "\n"); example != "" {
		advice = "for instance: " + example
	}
	return usageError{hint.Add(err, advice)}
}

// wrapArgs sets the argument check for cmd and its subcommands.
func wrapArgs(cmd *cobra.Command) {
	cmd.Args = checkArguments
	for _, c := range cmd.Commands() {
		wrapArgs(c)
	}
}

// noCommand returns the error for an unknown command.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q", args[0])
	if cmd.HasParent() {
		err = fmt.Errorf("%s: %w", nameOf(cmd), err)
	}
	advice := cmd.CommandPath() + " --help lists the commands"
	if s := nearCommands(cmd, args[0]); len(s) > 0 {
		advice = "did you mean " + strings.Join(s, " or ") + "?"
	}
	return usageError{hint.Add(err, advice)}
}

// nearCommands returns the subcommands of cmd with names similar to name.
func nearCommands(cmd *cobra.Command, name string) (near []string) {
	for _, c := range cmd.Commands() {
		if c.Hidden {
			continue
		}
		d := editDistance(c.Name(), name)
		if d <= 2 && d < len(c.Name())-1 || len(name) > 1 && strings.HasPrefix(c.Name(), name) {
			near = append(near, c.Name())
		}
	}
	return near
}

// flagError returns the error for a wrong flag.
func flagError(cmd *cobra.Command, err error) error {
	see := fmt.Sprintf("%s --help lists the flags", cmd.CommandPath())
	say := func(advice, format string, args ...any) error {
		return usageError{hint.Add(fmt.Errorf("%s: %w", nameOf(cmd), fmt.Errorf(format, args...)), advice)}
	}
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name := e.GetSpecifiedName()
		if e.GetSpecifiedShortnames() != "" {
			return say(see, "unknown flag -%s", name)
		}
		if near := nearFlag(cmd, name); near != "" {
			see = "did you mean --" + near + "?"
		} else if others := flagElsewhere(cmd, name); len(others) > 0 {
			see = elsewhere(cmd, name, others)
		}
		return say(see, "unknown flag --%s", name)
	}
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		f := e.GetFlag()
		return say(see, "--%s: %s is missing", f.Name, f.Value.Type())
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return say(see, "--%s %q: %w", e.GetFlag().Name, e.GetValue(), plainCause(e.Unwrap()))
	}
	if e, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok {
		return say(see, "%q is not a flag", e.GetSpecifiedFlag())
	}
	return usageError{fmt.Errorf("%s: %w", nameOf(cmd), err)}
}

// elsewhere returns the advice for a flag that only other commands have.
func elsewhere(cmd *cobra.Command, name string, others []string) string {
	of := fmt.Sprintf("--%s is a flag of %s", name, strings.Join(others, ", "))
	switch {
	case !cmd.HasParent():
		return of + "; write it after the command"
	case cmd.Name() == "push" && name == "dry-run":
		return "nixoci plan --against REF CLOSURE says what a push would send, and sends nothing"
	}
	return of + ", not of " + nameOf(cmd)
}

// didYouMean compares word with the other words and returns a suggestion: the most similar
// one. It returns "" if there is no similar word.
func didYouMean(word string, of ...string) string {
	best, least := "", 3
	for _, w := range of {
		if d := editDistance(word, w); d < least && d < len(w)-1 {
			best, least = w, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}

// plainCause replaces errors of the packages strconv and time by text that users understand.
func plainCause(err error) error {
	e, ok := errors.AsType[*strconv.NumError](err)
	switch {
	case ok && errors.Is(e, strconv.ErrRange):
		return errors.New("the number is out of range")
	case ok && e.Func == "ParseBool":
		return errors.New("not true or false")
	case ok:
		return errors.New("not a whole number")
	case err != nil && strings.HasPrefix(err.Error(), "time: "):
		return errors.New("not a time such as 720h or 90m")
	}
	return err
}
