// SPDX-License-Identifier: Apache-2.0

// Package rig starts the upstreams, the load and the proxies under test as processes of their own, measures them in
// turn, round by round, and prints what came out. It judges whether a figure is valid, never whether it is good.
package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/umbra-mesh/umbra/bench/internal/process"
	"github.com/umbra-mesh/umbra/bench/internal/proxies"
)

// Config is one bench.
type Config struct {
	Proxies   []string
	Cases     []Case
	Rounds    int
	Warm      time.Duration
	Span      time.Duration // measured, for each round, case and proxy
	Nginx     string        // program
	Umbra     string        // program
	Before    string        // an older program of Umbra
	UmbraArgs []string      // more flags of `umbra run`, but for Before
	Log       io.Writer     // progress
}

// relayThreads and the two workers that the other proxies are given are the same on every machine, so that tables of
// different machines have the same shape.
const relayThreads = 2

// proxy is one running proxy.
type proxy struct {
	name     string
	mirrored bool
	child    *process.Child
	addr     netip.AddrPort
	admin    netip.AddrPort // of Umbra
}

// far is one upstream.
type far struct {
	child *process.Child
	addr  netip.AddrPort
}

// bench is a set of running processes.
type bench struct {
	cfg      Config
	self     string // this program, which is also the upstream, the load and the relay
	dir      string
	a, b     far
	proxies  []*proxy
	children process.Family
	versions []string
	runs     int
}

// Run starts everything, measures, and ends everything, whatever happens.
func Run(ctx context.Context, cfg Config) (r *Report, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "umbra-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{cfg: cfg, self: self, dir: dir}
	defer func() { err = errors.Join(err, b.children.Stop(), os.RemoveAll(dir)) }()
	if err := b.start(ctx); err != nil {
		return nil, err
	}
	return b.measure(ctx)
}

func (b *bench) start(ctx context.Context) error {
	addrs, err := process.FreeAddrs(2 + 4*len(b.cfg.Proxies))
	if err != nil {
		return err
	}
	next := func() netip.AddrPort {
		addr := addrs[0]
		addrs = addrs[1:]
		return addr
	}
	for _, f := range []*far{&b.a, &b.b} {
		f.addr = next()
		if f.child, err = process.Start("upstream", process.Quiet, b.self, "upstream", f.addr.String()); err != nil {
			return err
		}
		b.children.Add(f.child)
		if err := f.child.AwaitAnswer(ctx, f.addr, "/count"); err != nil {
			return err
		}
	}
	for _, name := range b.cfg.Proxies {
		if err := b.version(name); err != nil {
			return err
		}
		for _, mirrored := range []bool{false, true} {
			if !slices.ContainsFunc(b.cfg.Cases, func(c Case) bool { return c.Mirror == mirrored }) ||
				mirrored && name == Relay {
				continue
			}
			if err := b.startProxy(ctx, &proxy{name: name, mirrored: mirrored, addr: next()}, next); err != nil {
				return err
			}
		}
	}
	return nil
}

// version looks the program up, before anything is measured.
func (b *bench) version(name string) error {
	var version string
	var err error
	switch name {
	case Nginx:
		b.cfg.Nginx, version, err = proxies.FindNginx(b.cfg.Nginx)
	case Umbra, UmbraRoutes, UmbraHosts:
		version, err = proxies.FindUmbra(b.cfg.Umbra)
		if len(b.cfg.UmbraArgs) > 0 {
			version += " with " + strings.Join(b.cfg.UmbraArgs, " ")
		}
	case Before:
		if b.cfg.Before == "" {
			return errors.New("there is no older umbra to measure: name its program with -umbra-before")
		}
		version, err = proxies.FindUmbra(b.cfg.Before)
		version = "before: " + version
	case Relay:
		return nil
	}
	b.versions = append(b.versions, version)
	return err
}

func (b *bench) startProxy(ctx context.Context, p *proxy, next func() netip.AddrPort) error {
	setup := proxies.Setup{Dir: b.dir, Listen: p.addr, Upstream: b.a.addr}
	if p.mirrored {
		setup.Copies = b.b.addr
	}
	if p.name != Nginx && p.name != Relay {
		p.admin = next()
		setup.Admin = p.admin
	}
	var err error
	switch p.name {
	case Nginx:
		p.child, err = proxies.StartNginx(b.cfg.Nginx, setup)
	case Umbra:
		p.child, err = proxies.StartUmbra(b.cfg.Umbra, setup, proxies.Plain, b.cfg.UmbraArgs...)
	case UmbraRoutes:
		p.child, err = proxies.StartUmbra(b.cfg.Umbra, setup, proxies.Routes, b.cfg.UmbraArgs...)
	case UmbraHosts:
		p.child, err = proxies.StartUmbra(b.cfg.Umbra, setup, proxies.Hosts, b.cfg.UmbraArgs...)
	case Before:
		p.child, err = proxies.StartUmbra(b.cfg.Before, setup, proxies.Plain)
	case Relay:
		p.child, err = process.Start("relay", process.Quiet, b.self, "relay", p.addr.String(), b.a.addr.String(),
			fmt.Sprint(relayThreads))
	}
	if err != nil {
		return err
	}
	b.children.Add(p.child)
	b.proxies = append(b.proxies, p)
	return p.child.AwaitAnswer(ctx, p.addr, "/start")
}

// measure runs every case through every proxy in each round, and begins each round with another proxy: the machine's
// moods then fall on all of them.
func (b *bench) measure(ctx context.Context) (*Report, error) {
	r := &Report{cfg: b.cfg, versions: b.versions}
	for round := range b.cfg.Rounds {
		for _, c := range b.cfg.Cases {
			var able []*proxy
			for _, p := range b.proxies {
				if p.mirrored == c.Mirror {
					able = append(able, p)
				}
			}
			for i := range able {
				p := able[(i+round)%len(able)]
				s, err := b.run(ctx, c, p)
				if err != nil {
					return nil, err
				}
				r.add(c, p.name, s)
				fmt.Fprintf(b.cfg.Log, "round %d of %d: %s: %s: %s us/request, %.0f requests/s%s\n", round+1, b.cfg.Rounds,
					c.Name, p.name, micros(s.CPU), s.Rate, remark(s))
			}
		}
	}
	return r, nil
}

func remark(s sample) string {
	if len(s.Faults) == 0 {
		return ""
	}
	return ": INVALID: " + strings.Join(s.Faults, "; ")
}
