package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
)

func (a *app) serveCommand() *cobra.Command {
	var listen, dir string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a small registry for tests",
		Long: `Run a small registry until it is interrupted, and print its address. The registry
keeps blobs in memory or below a directory, and tags always in memory. It has no
authentication. Use it for demonstrations and tests, not to store images.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.serve(cmd.Context(), listen, dir)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:5000", "address and port to listen on; port 0 means a free port")
	cmd.Flags().StringVar(&dir, "dir", "", "keep blobs below this directory instead of in memory")
	return cmd
}

func (a *app) serve(ctx context.Context, listen, dir string) error {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return fmt.Errorf("serve registry: %w", err)
		}
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("serve registry: %w", err)
	}
	logger := log.New(a.log.WriterLevel(logrus.DebugLevel), "", 0)
	opts := []registry.Option{registry.Logger(logger), registry.WithReferrersSupport(true)}
	if dir != "" {
		opts = append(opts, registry.WithBlobHandler(registry.NewDiskBlobHandler(dir)))
	}
	srv := &http.Server{Handler: withArtifactTypes(registry.New(opts...)), ReadHeaderTimeout: 10 * time.Second, ErrorLog: logger}
	a.stdout.Printf("%s\n", l.Addr())
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve registry: %w", err)
	}
	a.done = true
	return nil
}
