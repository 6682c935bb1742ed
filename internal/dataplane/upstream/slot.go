// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"runtime"
	"sync/atomic"
	"weak"
)

// Slot is the place of one cluster name. Routes and mirrors are linked to slots, so that a cluster may come, change and
// go without a route being rebuilt.
type Slot struct {
	Name    string
	cluster atomic.Pointer[Cluster]
}

// Cluster is the cluster of that name, nil while there is none.
func (s *Slot) Cluster() *Cluster { return s.cluster.Load() }

// Slot returns the slot of that name, made on first mention. It is the same one as long as anybody has it, be it a
// route, a mirror or a request that was matched before its route left, or as there is a cluster of that name. With the
// last of them it goes, when memory is next collected: the directory holds no name that nobody needs.
func (d *Directory) Slot(name string) *Slot {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.slot(name)
}

// slot is Slot. The caller holds mu.
func (d *Directory) slot(name string) *Slot {
	if s := d.slots[name].Value(); s != nil {
		return s
	}
	s := &Slot{Name: name}
	d.slots[name] = weak.Make(s)
	runtime.AddCleanup(s, d.dropSlot, name)
	return s
}

// dropSlot forgets the name of a slot that was collected.
func (d *Directory) dropSlot(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.slots[name].Value() == nil { // else it was asked for again
		delete(d.slots, name)
	}
}
