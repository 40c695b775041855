package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

// options holds the options, which are the same for every kind of system.
type options struct {
	root string // directory that contains the nix/ of the store
	debs string // directory for downloaded packages
	out  string // directory for the output files, such as graphs and caches

	release string   // release of Debian for the debstore command "release"
	names   []string // packages to take from the release, or guest systems to make
}

// inside is a variable that is set in a process for which the store is already mounted at
// /nix.
const inside = "DEBSTORE_INSIDE"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "debstore: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: debstore sample|small|large|guest|release -root DIR -debs DIR -out DIR [NAME...]")
	}
	kinds := map[string]func(context.Context, options) error{"sample": sample, "small": small, "large": large, "guest": guest, "release": release}
	kind, ok := kinds[args[0]]
	if !ok {
		return fmt.Errorf("no system called %q", args[0])
	}
	var opts options
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&opts.root, "root", "", "directory whose nix/store and nix/var hold the store")
	flags.StringVar(&opts.debs, "debs", "", "directory for downloaded packages")
	flags.StringVar(&opts.out, "out", "", "directory for graphs and binary caches")
	flags.StringVar(&opts.release, "release", "", "release of Debian, for debstore release PACKAGE...")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	opts.names = flags.Args()
	for _, dir := range []*string{&opts.root, &opts.debs, &opts.out} {
		if *dir == "" {
			return fmt.Errorf("-root, -debs and -out are needed")
		}
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(abs, 0o755); err != nil {
			return err
		}
		*dir = abs
	}
	if os.Getenv(inside) == "" {
		return enter(ctx, opts)
	}
	return kind(ctx, opts)
}

// enter runs this program again in a new mount namespace. In this namespace, /nix is the
// store under root, and /nix/debs contains the packages.
func enter(ctx context.Context, opts options) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, dir := range []string{"/nix", opts.root + "/nix/debs", opts.root + "/nix/store", opts.root + "/nix/var"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	script := `mount --make-rprivate / && mount --bind "$1/nix" /nix && mount --bind "$2" /nix/debs && shift 2 && exec "$@"`
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"-m", "sh", "-c", script, "sh", opts.root, opts.debs, self}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
