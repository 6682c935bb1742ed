// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/listener"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// far stands for everything that a Builder drives, and remembers what it was told.
type far struct {
	calls     []string
	clusters  map[string]upstream.Config
	endpoints map[string][]upstream.Endpoint
	listeners map[string]proxy.ListenerConfig
	taken     netip.AddrPort // an address that cannot be listened on
	listening func(proxy.ListenerConfig)

	slots   map[string]*upstream.Slot
	targets map[*mirror.Target]*upstream.Slot
	stats   map[*mirror.Stats]string
	routes  map[*proxy.RouteStats]string
	now     time.Time
}

func newFar() (*far, *Builder) {
	f := &far{
		clusters: map[string]upstream.Config{}, endpoints: map[string][]upstream.Endpoint{},
		listeners: map[string]proxy.ListenerConfig{}, slots: map[string]*upstream.Slot{},
		targets: map[*mirror.Target]*upstream.Slot{}, stats: map[*mirror.Stats]string{},
		routes: map[*proxy.RouteStats]string{}, now: time.Unix(1_700_000_000, 0).UTC(),
	}
	now := func() time.Time { return f.now }
	server := proxy.NewServer(proxy.Config{Registry: stats.NewRegistry(1)})
	return f, New(Deps{
		Clusters: farClusters{f}, Mirrors: f, Listeners: farListeners{f}, Now: now,
		RouteStats: func(vhost, prefix string) *proxy.RouteStats {
			s := server.NewRouteStats(vhost, prefix)
			f.routes[s] = vhost + "/" + prefix
			return s
		},
		Settle: func() { f.called("settle") },
	})
}

func (f *far) called(format string, args ...any) {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

// takeCalls returns the calls since the last one.
func (f *far) takeCalls() []string {
	c := f.calls
	f.calls = nil
	return c
}

func (f *far) Target(slot *upstream.Slot) *mirror.Target {
	for t, s := range f.targets {
		if s == slot {
			return t
		}
	}
	t := &mirror.Target{}
	f.targets[t] = slot
	return t
}

func (f *far) Stats(id, cluster string) *mirror.Stats {
	for s := range f.stats {
		if s.ID == id && s.Cluster == cluster {
			return s
		}
	}
	s := &mirror.Stats{ID: id, Cluster: cluster}
	f.stats[s] = id
	return s
}

func (f *far) Retire(s *mirror.Stats) { delete(f.stats, s) }

type farClusters struct{ *far }

func (farClusters) Await(time.Duration) bool { return true }

func (f farClusters) Set(c upstream.Config) {
	f.called("set cluster %s", c.Name)
	f.clusters[c.Name] = c
}

func (f farClusters) Remove(name string) {
	f.called("remove cluster %s", name)
	delete(f.clusters, name)
}

func (f farClusters) SetEndpoints(name string, hosts []upstream.Endpoint) {
	f.called("set endpoints %s: %d", name, len(hosts))
	f.endpoints[name] = hosts
}

func (f farClusters) Slot(name string) *upstream.Slot {
	if f.slots[name] == nil {
		f.slots[name] = &upstream.Slot{Name: name}
	}
	return f.slots[name]
}

type farListeners struct{ *far }

func (f farListeners) Set(c proxy.ListenerConfig) error {
	f.called("set listener %s", c.Name)
	return f.open(c, nil)
}

func (f farListeners) Replace(c proxy.ListenerConfig, others []string) error {
	f.called("set listener %s for %s", c.Name, strings.Join(others, ", "))
	err := f.open(c, others)
	for _, name := range others {
		if err == nil {
			delete(f.listeners, name)
		}
	}
	return err
}

func (f farListeners) Settle() {}

func (f farListeners) open(c proxy.ListenerConfig, others []string) error {
	if f.listening != nil {
		f.listening(c)
	}
	if c.Addr == f.taken {
		return errors.New("bind: address already in use")
	}
	for name, l := range f.listeners {
		if listener.Overlap(l.Addr, c.Addr) && name != c.Name && !slices.Contains(others, name) {
			return fmt.Errorf("address %v is listener %s's", c.Addr, name)
		}
	}
	f.listeners[c.Name] = c
	return nil
}

func (f farListeners) Remove(name string) {
	f.called("remove listener %s", name)
	delete(f.listeners, name)
}
