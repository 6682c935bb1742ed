// SPDX-License-Identifier: Apache-2.0

package build

import (
	"sync/atomic"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// names finds the clusters in force by name, for requests that bring the name themselves (cluster_header). Requests
// read it without a lock; there is nothing in it until a route asks for it.
type names struct {
	wanted bool // guarded by Builder.mu
	stale  bool // guarded by Builder.mu: a cluster came or went since all was made
	all    atomic.Pointer[map[string]named]
}

type named struct {
	slot   *upstream.Slot
	target *mirror.Target
}

// slot returns the place of the cluster of that name, nil if there is none. It allocates nothing.
func (n *names) slot(cluster []byte) *upstream.Slot {
	if all := n.all.Load(); all != nil {
		return (*all)[string(cluster)].slot
	}
	return nil
}

// target is where copies for the cluster of that name go, nil if there is none. It allocates nothing.
func (n *names) target(cluster []byte) *mirror.Target {
	if all := n.all.Load(); all != nil {
		return (*all)[string(cluster)].target
	}
	return nil
}

// fillNames brings the names up to date, if a route asks for them. Routes that do are put in force after that.
func (b *Builder) fillNames() {
	if !b.names.wanted || !b.names.stale && b.names.all.Load() != nil {
		return
	}
	all := make(map[string]named, len(b.clusters))
	for name := range b.clusters {
		slot := b.deps.Clusters.Slot(name)
		all[name] = named{slot, b.deps.Mirrors.Target(slot)}
	}
	b.names.all.Store(&all)
	b.names.stale = false
}
