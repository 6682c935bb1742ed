// SPDX-License-Identifier: Apache-2.0

// Package stats counts in the workers without locks and without allocation, and exposes the sums to Prometheus. Each
// worker has its own block of plain integers for every counted thing and publishes those it changed once a turn, so
// that a reader sees each block as it was at the end of a turn: sums that hold at the end of every turn hold in every
// snapshot. It does not name metrics (their users do), serve HTTP or keep history.
package stats

import (
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Registry holds all Sets of a process. It is a prometheus.Collector. Its methods are safe for concurrent use, except
// Publish.
type Registry struct {
	shards []*shard // immutable

	mu      sync.Mutex // never taken by a worker
	schemas map[*Kind]*schema
	help    map[string]string // by metric name
	sets    map[setKey]*Set
}

type setKey struct {
	kind   *Kind
	values string
}

// NewRegistry returns an empty registry for workers 0..workers-1.
func NewRegistry(workers int) *Registry {
	r := &Registry{
		schemas: make(map[*Kind]*schema),
		help:    make(map[string]string),
		sets:    make(map[setKey]*Set),
	}
	for range workers {
		r.shards = append(r.shards, new(shard))
	}
	return r
}

// Set is the numbers of one thing: a block for each worker.
type Set struct {
	// Immutable.
	registry *Registry
	schema   *schema
	key      setKey
	values   []string
	blocks   []*Block

	refs int // guarded by registry.mu
}

// Set returns the numbers of the thing with those label values, in the order of k.Labels, and takes a reference to
// them. The same kind and values give the same Set as long as a reference is held. Too few values are filled up with
// "", excess ones are ignored, bytes that are not UTF-8 become U+FFFD.
func (r *Registry) Set(k *Kind, values ...string) *Set {
	labels := make([]string, len(k.Labels))
	var key strings.Builder
	for i := range labels {
		if i < len(values) {
			labels[i] = strings.ToValidUTF8(values[i], "\uFFFD")
		}
		key.WriteString(strconv.Itoa(len(labels[i])))
		key.WriteByte(':')
		key.WriteString(labels[i])
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	id := setKey{k, key.String()}
	s := r.sets[id]
	if s == nil {
		s = &Set{registry: r, schema: r.schema(k), key: id, values: labels}
		for _, sh := range r.shards {
			s.blocks = append(s.blocks, newBlock(s.schema, sh))
		}
		r.sets[id] = s
	}
	s.refs++
	return s
}

// schema returns k's, made on its first use. The caller holds r.mu.
func (r *Registry) schema(k *Kind) *schema {
	s := r.schemas[k]
	if s == nil {
		s = newSchema(k, func(name, text string) string {
			if have, ok := r.help[name]; ok {
				return have // one name must have one help text
			}
			r.help[name] = text
			return text
		})
		r.schemas[k] = s
	}
	return s
}

// Release gives one reference back. With the last one the Set leaves the registry and its series end, as Envoy's do
// when a cluster is removed: its counts are gone, and a later Set of the same kind and values starts at zero, which
// Prometheus takes for a counter reset. So whoever may still count (a request or a copy in flight) holds a reference.
// Blocks already handed out stay usable; nobody reads them any more.
func (s *Set) Release() {
	r := s.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	s.refs--
	if s.refs == 0 {
		delete(r.sets, s.key)
	}
}

// Values returns the label values, in the order of the kind's Labels. The caller does not write to it.
func (s *Set) Values() []string { return s.values }

// Block returns the part of that worker: the same pointer for the life of the Set.
func (s *Set) Block(worker int) *Block { return s.blocks[worker] }

// Publish makes what that worker counted visible. The worker calls it on its goroutine at the end of every turn and
// once more when it ends. It takes a lock only if something was counted, and waits for a reader at most as long as
// copying one block takes.
func (r *Registry) Publish(worker int) {
	sh := r.shards[worker]
	if len(sh.dirty) == 0 {
		return
	}
	sh.mu.Lock()
	for _, b := range sh.dirty {
		b.publish()
	}
	sh.mu.Unlock()
	clear(sh.dirty) // keeps no removed Set alive
	sh.dirty = sh.dirty[:0]
}

// Describe sends nothing: the registry is an unchecked collector, as its series come and go.
func (r *Registry) Describe(chan<- *prometheus.Desc) {}

// Collect sends the sums over the workers of every Set.
func (r *Registry) Collect(ch chan<- prometheus.Metric) {
	r.mu.Lock()
	sets := make([]*Set, 0, len(r.sets))
	for _, s := range r.sets {
		sets = append(sets, s)
	}
	r.mu.Unlock()
	for _, s := range sets {
		snap := s.Sum()
		snap.collect(ch)
	}
}
