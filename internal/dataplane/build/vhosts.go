// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/route"
	"github.com/umbra-mesh/umbra/internal/spread"
)

// linkedRoutes is one RouteConfiguration in force: what is outside of its virtual hosts, and each of these on its own,
// so that a change of one of many costs one.
type linkedRoutes struct {
	shell *routev3.RouteConfiguration // the message without its virtual hosts
	hosts map[string]*linkedHost      // by name; of several with one name, one
	order []*linkedHost
	table *proxy.RouteTable
}

// linkRoutes checks and links a route configuration. What it has in common with the former one is taken over: a virtual
// host that is the same message costs a comparison of pointers, one that is equal a comparison.
func (b *Builder) linkRoutes(
	rc *routev3.RouteConfiguration, former *linkedRoutes, validateClusters bool,
) (*linkedRoutes, *fault) {
	next := &linkedRoutes{shell: shellOf(rc)}
	reuse := former != nil && proto.Equal(next.shell, former.shell)
	if !reuse {
		if bad := checkFields(next.shell); bad != nil {
			return nil, bad
		}
		if bad := validate(next.shell); bad != nil {
			return nil, bad
		}
	}
	if v := rc.GetValidateClusters(); v != nil {
		validateClusters = v.GetValue()
	}
	var known func(string) bool
	if validateClusters {
		known = func(name string) bool { return b.clusters[name] != nil }
		reuse = false // clusters may have gone
	}
	l, bad := newRouteLinker(&b.deps, b.names, next.shell, known)
	if bad != nil {
		return nil, bad
	}
	hosts := rc.GetVirtualHosts()
	next.hosts = make(map[string]*linkedHost, len(hosts))
	next.order = make([]*linkedHost, len(hosts))
	cfg := route.Config[*proxy.Action]{
		IgnorePort: rc.GetIgnorePortInHostMatching(), Hosts: make([]*route.Host[*proxy.Action], len(hosts)),
	}
	if reuse {
		former.take(hosts, next.order)
	}
	var fresh []int // hosts that nothing of the former one is
	for i := range hosts {
		if next.order[i] == nil {
			fresh = append(fresh, i)
		}
	}
	faults := make([]*fault, len(fresh))
	spread.Each(len(fresh), fewHosts, func(i int) { faults[i] = checkHost(hosts[fresh[i]]) })
	for i, v := range hosts {
		h := next.order[i]
		if h == nil {
			bad, faults = faults[0], faults[1:]
			if bad == nil {
				h, bad = l.host(v)
				b.count(&h.counted)
			}
			next.order[i] = h
			if bad != nil {
				b.release(next, former)
				return nil, bad.under(fmt.Sprintf("virtual_hosts[%d]", i))
			}
		}
		next.hosts[v.GetName()], next.order[i], cfg.Hosts[i] = h, h, h.host
	}
	var err error
	if next.table, err = route.New(cfg); err != nil {
		b.release(next, former)
		return nil, faultf("virtual_hosts", "%v", err)
	}
	return next, nil
}

// take gives the linked form of each virtual host that is as it was; of others nil stays.
func (f *linkedRoutes) take(hosts []*routev3.VirtualHost, to []*linkedHost) {
	var others []int // that have the name of one and are another message
	for i, v := range hosts {
		switch h := f.hosts[v.GetName()]; {
		case h == nil:
		case h.message == v:
			to[i] = h
		default:
			others = append(others, i)
		}
	}
	equal := make([]bool, len(others))
	spread.Each(len(others), fewHosts, func(k int) {
		v := hosts[others[k]]
		equal[k] = proto.Equal(f.hosts[v.GetName()].message, v)
	})
	for k, i := range others {
		if equal[k] {
			to[i] = f.hosts[hosts[i].GetName()]
			to[i].message = hosts[i] // the same to everybody, and found by its pointer the next time
		}
	}
}

// same tells whether two are of equal messages.
func (f *linkedRoutes) same(other *linkedRoutes) bool {
	return other != nil && slices.Equal(f.order, other.order) && proto.Equal(f.shell, other.shell)
}

// mirrors adds those of all virtual hosts to a set.
func (f *linkedRoutes) mirrors(to map[Mirror]bool) {
	if f == nil {
		return
	}
	for _, h := range f.order {
		h.addTo(to)
	}
}

// release gives back what counts for virtual hosts that are not in kept too.
func (b *Builder) release(gone, kept *linkedRoutes) {
	if gone == nil {
		return
	}
	stay := map[*linkedHost]bool{}
	if kept != nil {
		for _, h := range kept.order {
			stay[h] = true
		}
	}
	for _, h := range gone.order {
		if h != nil && !stay[h] {
			b.discount(&h.counted)
		}
	}
}

// count and discount keep the counters of what is in force; those that nothing in force uses any more go.
func (b *Builder) count(c *counted) {
	for _, s := range c.copies {
		b.copies[s]++
	}
}

func (b *Builder) discount(c *counted) {
	for _, s := range c.copies {
		if b.copies[s]--; b.copies[s] <= 0 {
			delete(b.copies, s)
			b.deps.Mirrors.Retire(s)
		}
	}
	for _, s := range c.routes {
		s.Release()
	}
}

var virtualHosts = (&routev3.RouteConfiguration{}).ProtoReflect().Descriptor().Fields().ByName("virtual_hosts")

// fewHosts are checked faster by one goroutine than by two.
const fewHosts = 32

// checkHost holds a virtual host against the lists and its rules.
func checkHost(v *routev3.VirtualHost) *fault {
	known := knownFields[virtualHosts.ContainingMessage().FullName()].children[virtualHosts.Name()]
	if bad := known.check(v); bad != nil {
		return bad
	}
	return validate(v)
}

// shellOf is the message without its virtual hosts. It shares all else with it, so nobody may write to it.
func shellOf(rc *routev3.RouteConfiguration) *routev3.RouteConfiguration {
	shell := &routev3.RouteConfiguration{}
	to := shell.ProtoReflect()
	from := rc.ProtoReflect()
	from.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd != virtualHosts {
			to.Set(fd, v)
		}
		return true
	})
	to.SetUnknown(from.GetUnknown())
	return shell
}
