// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// inputFlags are those of every command that reads configuration.
type inputFlags struct {
	files            []string
	recursive        bool
	namespace        string
	labels           labels
	allowUnsupported []string
	profile          profile
	bind             ip
	ports            ports
	outbound         address
	outboundPolicy   outboundPolicy
	locality         locality
	rootNamespace    string
	paths            pathNormalization
}

func (f *inputFlags) add(flags *pflag.FlagSet) {
	f.bind.Addr = netip.IPv4Unspecified()
	flags.StringArrayVarP(&f.files, "file", "f", nil,
		"Read this `PATH`: a folder, a file, or - for standard input; .yaml, .yml and .json; repeatable.")
	flags.BoolVarP(&f.recursive, "recursive", "R", false, "Read subfolders too.")
	flags.StringVar(&f.namespace, "namespace", "default",
		"Namespace of resources that name none, and of the proxy: short host names resolve in it.")
	flags.Var(&f.labels, "labels",
		"Labels of this proxy, for the selectors of Gateways, Sidecars and DestinationRules and for sourceLabels; "+
			"without the flag every Gateway is served.")
	flags.StringSliceVar(&f.allowUnsupported, "allow-unsupported", nil,
		"Let what is not implemented of this `KIND` give warnings instead of errors; repeatable.")
	flags.Var(&f.profile, "profile",
		"Generation of Istio to follow: asm adds -shadow to the Host of copies and retries on 503; istio does neither.")
	flags.Var(&f.bind, "bind", "Address on which Gateway ports are served.")
	flags.Var(&f.ports, "port", "Serve a Gateway's port at another one, as in 80=8080; repeatable.")
	flags.Var(&f.outbound, "outbound",
		"Also serve a sidecar's outbound HTTP listener here, for VirtualServices that name no gateway; none if empty.")
	flags.Var(&f.outboundPolicy, "outbound-policy",
		"What becomes of --outbound's requests to unknown hosts: allow-any sends them where their connection was going "+
			"before it was redirected here, registry-only answers 502. A Sidecar's outboundTrafficPolicy wins.")
	flags.Var(&f.locality, "locality", "Where this proxy is: endpoints that are near come first, where outliers are detected.")
	flags.StringVar(&f.rootNamespace, "root-namespace", "istio-system",
		"Namespace whose DestinationRules and Sidecars are for all.")
	flags.Var(&f.paths, "path-normalization",
		"What is made of a request's path before it is matched and sent on, as by Istio's meshConfig.pathNormalization: "+
			"BASE resolves /./ and /../, MERGE_SLASHES makes // one too, DECODE_AND_MERGE_SLASHES decodes %2F and %5C first.")
}

// noPaths refuses arguments, and tells that paths are given with -f.
func noPaths(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q: a path is given with -f", args[0])
	}
	return nil
}

// namespaceName is what a namespace may be called (RFC 1123 §2.1).
var namespaceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// input is the flags' meaning; a mistake in them is one of usage.
func (f *inputFlags) input(stdin io.Reader) (app.Input, error) {
	if len(f.files) == 0 {
		return app.Input{}, errors.New("nothing to read: name a folder or a file with -f")
	}
	for _, n := range []struct{ flag, value string }{
		{"namespace", f.namespace}, {"root-namespace", f.rootNamespace},
	} {
		if n.value != "" && !namespaceName.MatchString(n.value) {
			return app.Input{}, fmt.Errorf("--%s %q is not a name of a namespace: lower case letters, digits and '-'", n.flag,
				n.value)
		}
	}
	return app.Input{
		Paths: f.files, Recursive: f.recursive, Stdin: stdin, Namespace: f.namespace, Labels: f.labels,
		AllowUnsupported: f.allowUnsupported, Profile: compile.Profile(f.profile), Bind: f.bind.String(), Ports: f.ports,
		Outbound: f.outbound.AddrPort, OutboundPolicy: mesh.OutboundPolicy(f.outboundPolicy), Locality: string(f.locality),
		RootNamespace: f.rootNamespace, PathNormalization: compile.PathNormalization(f.paths),
	}, nil
}
