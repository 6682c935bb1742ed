// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// target is where a mirror's requests or copies go.
type target struct {
	host string // a name or an IP, without brackets
	port uint16
}

// Set implements pflag.Value: http://HOST[:PORT].
func (t *target) Set(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return err
	case u.Scheme == "https":
		return fmt.Errorf("%q: TLS is not implemented; use http://", s)
	case u.Scheme != "http" || u.Hostname() == "":
		return fmt.Errorf("%q is not http://HOST:PORT", s)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return fmt.Errorf("%q: only a host and a port can be given; the request brings the rest", s)
	}
	t.host, t.port = strings.ToLower(u.Hostname()), 80
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%q: port %s is not between 1 and 65535", s, p)
		}
		t.port = uint16(n)
	}
	return nil
}

func (t *target) String() string {
	if t.host == "" {
		return ""
	}
	if strings.Contains(t.host, ":") {
		return fmt.Sprintf("http://[%s]:%d", t.host, t.port)
	}
	return fmt.Sprintf("http://%s:%d", t.host, t.port)
}

func (*target) Type() string { return "URL" }

// targets is a list of them.
type targets []target

// Set implements pflag.Value: it adds one.
func (l *targets) Set(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		var t target
		if err := t.Set(part); err != nil {
			return err
		}
		*l = append(*l, t)
	}
	return nil
}

func (l *targets) String() string {
	var parts []string
	for _, t := range *l {
		parts = append(parts, t.String())
	}
	return strings.Join(parts, ",")
}

func (*targets) Type() string { return "URL" }

// The hosts that the resources give the two sides; the names that --to and --copy give are those of endpoints.
const (
	primaryHost = "primary.umbra.internal"
	copyHost    = "copy-%d.umbra.internal"
)

// resources are what the flags say, as a user would write it.
func (f *mirrorFlags) resources() string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: mirror, namespace: default}
spec:
  servers:
  - port: {number: %d, name: http, protocol: HTTP}
    bind: %q
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: mirror, namespace: default}
spec:
  hosts: ["*"]
  gateways: [mirror]
  http:
  - route:
    - destination: {host: %s, port: {number: %d}}
`, f.listen.Port(), f.listen.Addr(), primaryHost, f.to.port)
	if f.host != "" {
		fmt.Fprintf(&b, "    rewrite: {authority: %q}\n", f.host)
	}
	b.WriteString("    mirrors:\n")
	for i, c := range f.copies {
		fmt.Fprintf(&b, `    - destination: {host: %s, port: {number: %d}}
      percentage: {value: %s}
`, fmt.Sprintf(copyHost, i+1), c.port, strconv.FormatFloat(f.percentage, 'f', -1, 64))
	}
	f.to.entry(&b, "primary", primaryHost)
	for i := range f.copies {
		f.copies[i].entry(&b, fmt.Sprintf("copy-%d", i+1), fmt.Sprintf(copyHost, i+1))
	}
	return b.String()
}

// entry writes the ServiceEntry for a target under a host.
func (t *target) entry(b *strings.Builder, name, host string) {
	resolution := "DNS"
	if _, err := netip.ParseAddr(t.host); err == nil {
		resolution = "STATIC"
	}
	fmt.Fprintf(b, `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s, namespace: default}
spec:
  hosts: [%s]
  location: MESH_EXTERNAL
  ports:
  - {number: %d, name: http, protocol: HTTP}
  resolution: %s
  endpoints:
  - address: %q
`, name, host, t.port, resolution, t.host)
}
