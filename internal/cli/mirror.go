// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
)

type mirrorFlags struct {
	serveFlags
	listen     address
	to         target
	copies     targets
	percentage float64
	ttl        time.Duration
	host       string
	profile    profile
	print      bool
}

func newMirror() *cobra.Command { return new(mirrorFlags).command() }

func (f *mirrorFlags) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mirror --listen IP:PORT --to URL --copy URL",
		Short: "Serve one upstream, and mirror it to others, without a file.",
		Long: "Serve one upstream, and mirror it to others, without a file.\n\n" +
			"This writes a Gateway, a VirtualService and ServiceEntries, and serves them as run does; --print shows them, as\n" +
			"a start for a configuration of your own. Names are looked up in the background, not when a request comes.\n" +
			"With --ttl the mirrors are switched off after that time; production goes on until the process is ended.\n" +
			"The client's Host reaches both sides (copies: with -shadow, unless --profile istio), or that of --host.",
		Example: "  umbra mirror --listen :8080 --to http://127.0.0.1:80 --copy http://staging:80\n" +
			"  umbra mirror --listen :8080 --to http://prod:80 --copy http://v2:80 --percentage 10 --ttl 30m\n" +
			"  umbra mirror --listen :80 --to http://prod:80 --copy http://v2:80 --print > mirror.yaml",
		Args: noPaths,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.Var(&f.listen, "listen", "Serve requests here.")
	flags.Var(&f.to, "to", "Where requests go: http:// and a name or an address, with a port or port 80.")
	flags.Var(&f.copies, "copy", "Where copies go, written as --to; repeatable.")
	flags.Float64Var(&f.percentage, "percentage", 100, "Share of requests that are copied to each --copy, 0 to 100.")
	flags.DurationVar(&f.ttl, "ttl", 0, "Copy for this long only, as in 30m; 0 is without end.")
	flags.StringVar(&f.host, "host", "", "Host that requests and copies get; the client's if empty.")
	flags.Var(&f.profile, "profile",
		"Generation of Istio to follow: asm adds -shadow to the Host of copies and retries on 503; istio does neither.")
	flags.BoolVar(&f.print, "print", false, "Print the resources, and serve nothing.")
	f.serveFlags.add(flags)
	return cmd
}

func (f *mirrorFlags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return err
	}
	resources := f.resources()
	if f.print {
		_, err := fmt.Fprint(cmd.OutOrStdout(), resources)
		return err
	}
	opts, err := f.serving(app.Input{
		Paths: []string{"-"}, Stdin: strings.NewReader(resources), Namespace: "default",
		Profile: compile.Profile(f.profile), Bind: f.listen.Addr().String(),
	})
	if err != nil {
		return err
	}
	return serve(cmd, opts, func(ctx context.Context, a *app.App, logger *slog.Logger) {
		if f.ttl == 0 {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(f.ttl):
			a.SetMirrors(false)
			logger.Info("mirrors switched off; production goes on", "ttl", f.ttl)
		}
	})
}

func (f *mirrorFlags) check() error {
	switch {
	case !f.listen.IsValid():
		return errors.New("--listen is missing: say where to serve, as in --listen :8080")
	case f.to.host == "":
		return errors.New("--to is missing: say where requests go, as in --to http://127.0.0.1:80")
	case len(f.copies) == 0:
		return errors.New("--copy is missing: say where copies go, as in --copy http://staging:80")
	case !(f.percentage >= 0 && f.percentage <= 100): // NaN too
		return fmt.Errorf("--percentage %v is not between 0 and 100", f.percentage)
	case f.ttl < 0:
		return fmt.Errorf("--ttl %s is negative", f.ttl)
	}
	return nil
}
