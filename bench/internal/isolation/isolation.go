// SPDX-License-Identifier: Apache-2.0

// Package isolation lets one fault after the other befall a mirror, and measures what production notices of it: it goes
// on at a fixed rate through a proxy that is to copy every request to that mirror. What Umbra promises is judged, how
// fast anything is never.
package isolation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/umbra-mesh/umbra/bench/internal/faulty"
	"github.com/umbra-mesh/umbra/bench/internal/process"
	"github.com/umbra-mesh/umbra/bench/internal/proxies"
	"github.com/umbra-mesh/umbra/bench/internal/traffic"
)

// The proxies that can be measured. The relay copies nothing: with it the rig is measured.
const (
	Umbra = "umbra"
	Nginx = "nginx"
	Relay = "relay"
)

// Config is one run.
type Config struct {
	Proxies     []string
	Faults      []faulty.Fault
	Rate        int           // requests a second
	Connections int           // that clients have
	Span        time.Duration // of each fault and proxy
	Nginx       string        // program
	Umbra       string        // program
	UmbraArgs   []string      // more flags of `umbra run`
	Log         io.Writer     // progress
}

// warm is how long a proxy runs beside a healthy mirror before what it holds is taken as its base.
const warm = time.Second

type bench struct {
	cfg      Config
	self     string // this program, which is also the clients, the origin, the mirror and the relay
	dir      string
	children process.Family
	clients  *process.Piped
	proxies  []*proxy
	id       uint64 // of the next request
}

// proxy is one running proxy with an origin and a mirror of its own: what it sends late is not counted as another's.
type proxy struct {
	name           string
	child          *process.Child
	addr, admin    netip.AddrPort
	origin, mirror *process.Piped
	ids            []int // of its processes
	base           process.Holdings
}

// Run starts everything, measures, and ends everything, whatever happens. An nginx that is not installed is left out.
func Run(ctx context.Context, cfg Config) (r *Report, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "umbra-isolation-")
	if err != nil {
		return nil, err
	}
	b := &bench{cfg: cfg, self: self, dir: dir}
	defer func() { err = errors.Join(err, b.children.Stop(), os.RemoveAll(dir)) }()
	r = &Report{cfg: cfg, load: process.LoadAverage()}
	if err := b.start(ctx, r); err != nil {
		return nil, err
	}
	for i := range cfg.Faults {
		for _, p := range b.proxies {
			w, err := b.suffer(ctx, p, &cfg.Faults[i])
			if err != nil {
				return nil, fmt.Errorf("%s beside a mirror that is %s: %w", p.name, cfg.Faults[i].Name, err)
			}
			r.rows = append(r.rows, w)
			fmt.Fprintf(cfg.Log, "%d of %d: %s: %s: p50 %s ms, p99 %s ms, %d of %d failed%s\n", i+1, len(cfg.Faults),
				w.fault.Name, w.proxy, millis(w.P50), millis(w.P99), w.Failed, w.Due, remark(w))
		}
	}
	r.loadAfter = process.LoadAverage()
	return r, nil
}

func remark(w *row) string {
	if broken := w.broken(); len(broken) > 0 {
		return ": BROKEN: " + strings.Join(broken, "; ")
	}
	return ""
}

func (b *bench) start(ctx context.Context, r *Report) error {
	var err error
	if b.clients, err = b.role(RoleClients); err != nil {
		return err
	}
	for _, name := range b.cfg.Proxies {
		p := &proxy{name: name}
		version, err := b.startProxy(ctx, p)
		if p.child == nil && name == Nginx && err != nil {
			r.left = append(r.left, err.Error())
			fmt.Fprintf(b.cfg.Log, "left out: %v\n", err)
			continue
		}
		if err != nil {
			return err
		}
		r.versions = append(r.versions, version)
		if err := b.warmUp(ctx, p); err != nil {
			return err
		}
		b.proxies = append(b.proxies, p)
	}
	return nil
}

// role starts this program again.
func (b *bench) role(name string, args ...string) (*process.Piped, error) {
	p, err := process.StartPiped(name, nil, b.self, append([]string{name}, args...)...)
	if err == nil {
		b.children.Add(p)
	}
	return p, err
}

// startProxy starts a proxy after its far ends. It leaves p.child nil if the proxy's program does not run here.
func (b *bench) startProxy(ctx context.Context, p *proxy) (version string, err error) {
	program := b.cfg.Nginx
	switch p.name {
	case Nginx:
		program, version, err = proxies.FindNginx(b.cfg.Nginx)
	case Umbra:
		version, err = proxies.FindUmbra(b.cfg.Umbra)
		if len(b.cfg.UmbraArgs) > 0 {
			version += " with " + strings.Join(b.cfg.UmbraArgs, " ")
		}
	case Relay:
		version = "a relay without a mirror"
	default:
		err = fmt.Errorf("unknown proxy %q, want some of %s,%s,%s", p.name, Umbra, Nginx, Relay)
	}
	if err != nil {
		return "", err
	}
	addrs, err := process.FreeAddrs(4)
	if err != nil {
		return "", err
	}
	origin, mirror := addrs[0], addrs[1]
	p.addr, p.admin = addrs[2], addrs[3]
	if p.origin, err = b.role(RoleOrigin, origin.String()); err != nil {
		return "", err
	}
	if p.mirror, err = b.role(RoleMirror, mirror.String(), origin.String()); err != nil {
		return "", err
	}
	if _, err := b.count(ctx, p, ""); err != nil { // they listen
		return "", err
	}
	setup := proxies.Setup{Dir: b.dir, Listen: p.addr, Admin: p.admin, Upstream: origin, Copies: mirror}
	switch p.name {
	case Nginx:
		p.child, err = proxies.StartNginx(program, setup)
	case Umbra:
		args := append([]string{"--drain-timeout", "1s"}, b.cfg.UmbraArgs...) // an interrupt waits for no copy that hangs
		p.child, err = proxies.StartUmbra(b.cfg.Umbra, setup, proxies.Plain, args...)
	case Relay:
		p.child, err = process.Start("relay", process.Quiet, b.self, "relay", p.addr.String(), origin.String(), "2")
	}
	if p.child != nil {
		b.children.Add(p.child)
	}
	return version, err
}

// warmUp lets a proxy come to its usual size.
func (b *bench) warmUp(ctx context.Context, p *proxy) error {
	if err := p.child.AwaitAnswer(ctx, p.addr, traffic.StartPath); err != nil {
		return err
	}
	var err error
	if p.ids, err = process.Tree(p.child.PID()); err != nil {
		return err
	}
	result, err := b.traffic(ctx, p, b.cfg.Rate, b.cfg.Connections, warm)
	if err != nil {
		return err
	}
	if result.Failed > 0 {
		return fmt.Errorf("%s: %d of %d requests failed while all was well: %s", p.name, result.Failed, result.Due,
			strings.Join(result.Told, "; "))
	}
	p.base, err = process.Hold(p.ids)
	return err
}

// traffic sends requests through a proxy.
func (b *bench) traffic(ctx context.Context, p *proxy, rate, connections int, span time.Duration) (traffic.Result, error) {
	l := traffic.Load{Addr: p.addr, Rate: rate, Connections: connections, Span: span, FirstID: b.id}
	var r traffic.Result
	line, err := json.Marshal(l)
	if err != nil {
		return r, err
	}
	err = b.clients.Ask(ctx, span+traffic.Patience+answerLimit, string(line), &r)
	b.id += uint64(r.Due)
	return r, err
}
