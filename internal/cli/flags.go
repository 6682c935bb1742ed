// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
	"github.com/umbra-mesh/umbra/internal/logging"
)

// envName is the environment variable of a flag.
func envName(flag string) string {
	return "UMBRA_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// setFromEnv sets a flag by the text of a variable; a list is split at commas.
func setFromEnv(f *pflag.Flag, value string) error {
	list, ok := f.Value.(pflag.SliceValue)
	if !ok {
		return f.Value.Set(value)
	}
	return list.Replace(strings.Split(value, ","))
}

// labels is a set of labels, k=v,...; nil until set.
type labels map[string]string

func (l *labels) Set(s string) error {
	if *l == nil {
		*l = labels{}
	}
	if s == "" {
		return nil
	}
	for pair := range strings.SplitSeq(s, ",") {
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return fmt.Errorf("label %q is not KEY=VALUE", pair)
		}
		(*l)[k] = v
	}
	return nil
}

func (l *labels) String() string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(*l)) {
		pairs = append(pairs, k+"="+(*l)[k])
	}
	return strings.Join(pairs, ",")
}

func (*labels) Type() string { return "KEY=VALUE,..." }

// ports maps a Gateway's port to the one that is served: 80=8080, repeated or separated by commas.
type ports map[uint32]uint32

func (p *ports) Set(s string) error {
	for pair := range strings.SplitSeq(s, ",") {
		from, to, ok := strings.Cut(pair, "=")
		a, errA := strconv.ParseUint(from, 10, 16)
		b, errB := strconv.ParseUint(to, 10, 16)
		if !ok || errA != nil || errB != nil || a == 0 || b == 0 {
			return fmt.Errorf("%q is not PORT=PORT, each of 1 to 65535", pair)
		}
		if had, ok := (*p)[uint32(a)]; ok && had != uint32(b) {
			return fmt.Errorf("port %d is given twice: %d and %d", a, had, b)
		}
		if *p == nil {
			*p = ports{}
		}
		(*p)[uint32(a)] = uint32(b)
	}
	return nil
}

func (p *ports) String() string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(*p)) {
		pairs = append(pairs, fmt.Sprintf("%d=%d", k, (*p)[k]))
	}
	return strings.Join(pairs, ",")
}

func (*ports) Type() string { return "PORT=PORT" }

// profile is the generation of Istio that is followed.
type profile compile.Profile

var profiles = map[string]profile{"asm": profile(compile.ASM), "istio": profile(compile.Istio)}

func (p *profile) Set(s string) error {
	v, ok := profiles[s]
	if !ok {
		return fmt.Errorf("%q is neither asm nor istio", s)
	}
	*p = v
	return nil
}

func (p *profile) String() string {
	for name, v := range profiles {
		if v == *p {
			return name
		}
	}
	return ""
}

func (*profile) Type() string { return "asm|istio" }

// outboundPolicy is what becomes of requests to hosts that are not known; unset until set.
type outboundPolicy mesh.OutboundPolicy

var outboundPolicies = map[string]outboundPolicy{
	"allow-any": outboundPolicy(mesh.AllowAny), "registry-only": outboundPolicy(mesh.RegistryOnly),
}

func (p *outboundPolicy) Set(s string) error {
	v, ok := outboundPolicies[s]
	if !ok {
		return fmt.Errorf("%q is neither allow-any nor registry-only", s)
	}
	*p = v
	return nil
}

func (p *outboundPolicy) String() string {
	for name, v := range outboundPolicies {
		if v == *p {
			return name
		}
	}
	return "allow-any"
}

func (*outboundPolicy) Type() string { return "allow-any|registry-only" }

// pathNormalization is what is made of paths, by Istio's names.
type pathNormalization compile.PathNormalization

var pathNormalizations = map[string]pathNormalization{
	"NONE": pathNormalization(compile.NormalizeNone), "BASE": pathNormalization(compile.NormalizeBase),
	"MERGE_SLASHES":            pathNormalization(compile.NormalizeMergeSlashes),
	"DECODE_AND_MERGE_SLASHES": pathNormalization(compile.NormalizeDecodedSlashes),
}

func (n *pathNormalization) Set(s string) error {
	v, ok := pathNormalizations[s]
	if !ok {
		return fmt.Errorf("%q is none of NONE, BASE, MERGE_SLASHES and DECODE_AND_MERGE_SLASHES", s)
	}
	*n = v
	return nil
}

func (n *pathNormalization) String() string {
	for name, v := range pathNormalizations {
		if v == *n {
			return name
		}
	}
	return ""
}

func (*pathNormalization) Type() string { return "NONE|BASE|MERGE_SLASHES|DECODE_AND_MERGE_SLASHES" }

// locality is a region, with or without a zone and a subzone.
type locality string

func (l *locality) Set(s string) error {
	parts := strings.Split(s, "/")
	if len(parts) > 3 || slices.Contains(parts, "") && s != "" {
		return fmt.Errorf("%q is not REGION/ZONE/SUBZONE, or the first of these", s)
	}
	*l = locality(s)
	return nil
}

func (l *locality) String() string { return string(*l) }

func (*locality) Type() string { return "REGION/ZONE/SUBZONE" }

// traceFormats is a set of ways to write a trace's context; w3c unless set.
type traceFormats trace.Formats

var traceNames = map[string]trace.Formats{"w3c": trace.W3C, "b3-single": trace.B3Single, "b3": trace.B3}

func (f *traceFormats) Set(s string) error {
	var all trace.Formats
	for word := range strings.SplitSeq(s, ",") {
		format, ok := traceNames[word]
		if !ok {
			return fmt.Errorf("%q is none of w3c, b3 and b3-single", word)
		}
		all |= format
	}
	*f = traceFormats(all)
	return nil
}

func (f *traceFormats) String() string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(traceNames)) {
		if trace.Formats(*f)&traceNames[name] != 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "w3c"
	}
	return strings.Join(names, ",")
}

func (*traceFormats) Type() string { return "w3c,b3,b3-single" }

// ip is an address without a port.
type ip struct{ netip.Addr }

func (v *ip) Set(s string) error {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return fmt.Errorf("%q is not an IP address", s)
	}
	v.Addr = a
	return nil
}

func (*ip) Type() string { return "IP" }

// address is an IP and a port; ":PORT" is all of the machine's addresses. The zero value is none.
type address struct{ netip.AddrPort }

func (v *address) Set(s string) error {
	full := s
	if strings.HasPrefix(s, ":") {
		full = "0.0.0.0" + s
	}
	a, err := netip.ParseAddrPort(full)
	if err != nil {
		return fmt.Errorf("%q is not IP:PORT or :PORT", s)
	}
	if a.Port() == 0 {
		return fmt.Errorf("%q has no port", s)
	}
	v.AddrPort = a
	return nil
}

func (v *address) String() string {
	if !v.IsValid() {
		return ""
	}
	return v.AddrPort.String()
}

func (*address) Type() string { return "IP:PORT" }

// logLevel is a level of the log; info unless set.
type logLevel slog.Level

func (l *logLevel) Set(s string) error {
	level, err := logging.ParseLevel(s)
	*l = logLevel(level)
	return err
}

func (l *logLevel) String() string { return logging.LevelName(slog.Level(*l)) }

func (*logLevel) Type() string { return strings.Join(logging.Levels, ",") }
