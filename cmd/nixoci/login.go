package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/registry"
)

func (a *app) loginCommand() *cobra.Command {
	var user, password string
	var stdin bool
	var r registryFlags
	cmd := &cobra.Command{
		Use:   "login HOST",
		Short: "Log in to a registry: check credentials and store them",
		Long: `Check credentials for a registry and store them in Docker's config file. If this
file names a credential helper, nixoci stores the credentials with that helper.
nixoci asks for the password, or reads it from stdin with --password-stdin.`,
		Example: `  echo "$GITHUB_TOKEN" | nixoci login ghcr.io -u "$GITHUB_ACTOR" --password-stdin`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if stdin {
				if password != "" {
					return usagef("--password and --password-stdin cannot be used together")
				}
				b, err := io.ReadAll(io.LimitReader(a.stdin, 1<<20))
				if err != nil {
					return fmt.Errorf("read password: %w", err)
				}
				password = strings.TrimRight(string(b), "\r\n")
			}
			return a.login(cmd.Context(), args[0], user, password, &r)
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&user, "username", "u", "", "name of the user")
	fl.StringVarP(&password, "password", "p", "", "password; other processes can see it, so prefer --password-stdin")
	fl.BoolVar(&stdin, "password-stdin", false, "read the password from stdin")
	r.add(cmd)
	return cmd
}

func (a *app) login(ctx context.Context, host, user, password string, r *registryFlags) error {
	if user == "" || password == "" {
		if err := a.ask(&user, &password); err != nil {
			return err
		}
	}
	where, err := registry.Login(ctx, host, user, password, r.options(a))
	if err != nil {
		return err
	}
	a.stderr.Printf("logged in to %s as %s; stored in %s\n", host, user, where)
	return nil
}

// ask asks on the terminal for the user name and the password, unless they are already set.
func (a *app) ask(user, password *string) error {
	in, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return usageError{hint.Add(fmt.Errorf("login: user or password is missing"), "-u USER --password-stdin < file")}
	}
	if *user == "" {
		a.stderr.Printf("Username: ")
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil {
			return fmt.Errorf("read username: %w", err)
		}
		*user = strings.TrimSpace(line)
	}
	if *password == "" {
		a.stderr.Printf("Password: ")
		b, err := term.ReadPassword(int(in.Fd()))
		a.stderr.Printf("\n")
		if err != nil {
			return fmt.Errorf("read password: %w", err)
		}
		*password = string(b)
	}
	return nil
}

func (a *app) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "logout HOST",
		Short: "Log out of a registry: remove its credentials",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := registry.Logout(cmd.Context(), args[0]); err != nil {
				return err
			}
			a.stderr.Printf("logged out of %s\n", args[0])
			return nil
		},
	}
}
