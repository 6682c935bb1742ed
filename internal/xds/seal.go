// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"sync"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Seal sorts every list by name and sets Version to a digest of the whole content, so that equal sets have equal
// versions. The caller owns r until it publishes it; nothing is written to the messages themselves.
func (r *Resources) Seal() { new(Sealer).Seal(r) }

// Sealer seals one set after another. It remembers the digests of the messages of the last set, and of their virtual
// hosts, by pointer: messages that are in the next set too, which may not be written to any more, are not looked at
// again. Versions are those of Resources.Seal. The zero value is ready for use, from one goroutine at a time.
type Sealer struct {
	seals uint64
	known map[proto.Message]*sealed
	digester
}

// sealed is the digest of a message, and the last Seal that met it.
type sealed struct {
	sum  digest
	seal uint64
}

type digest [16]byte

// Seal is as Resources.Seal.
func (s *Sealer) Seal(r *Resources) {
	sortBy(r.Listeners, (*listenerv3.Listener).GetName)
	sortBy(r.Routes, (*routev3.RouteConfiguration).GetName)
	sortBy(r.Clusters, (*clusterv3.Cluster).GetName)
	sortBy(r.Endpoints, (*endpointv3.ClusterLoadAssignment).GetClusterName)

	if s.known == nil {
		s.known = map[proto.Message]*sealed{}
	}
	s.seals++
	n := 0
	var all []byte
	all = appendLength(all, len(r.Listeners))
	for _, m := range r.Listeners {
		all = s.append(all, m, &n)
	}
	all = appendLength(all, len(r.Routes))
	for _, m := range r.Routes {
		all = s.appendRoutes(all, m, &n)
	}
	all = appendLength(all, len(r.Clusters))
	for _, m := range r.Clusters {
		all = s.append(all, m, &n)
	}
	all = appendLength(all, len(r.Endpoints))
	for _, m := range r.Endpoints {
		all = s.append(all, m, &n)
	}
	sum := sha256.Sum256(all)
	r.Version = hex.EncodeToString(sum[:8])
	if len(s.known) > n {
		for m, k := range s.known {
			if k.seal != s.seals {
				delete(s.known, m)
			}
		}
	}
}

func sortBy[M any](list []M, name func(M) string) {
	slices.SortStableFunc(list, func(a, b M) int { return cmp.Compare(name(a), name(b)) })
}

// append adds a message's digest to b. n counts the messages met in this Seal.
func (s *Sealer) append(b []byte, m proto.Message, n *int) []byte {
	k := s.meet(m, n)
	if k.seal == 0 {
		k.sum = s.digest(m)
	}
	k.seal = s.seals
	return append(b, k.sum[:]...)
}

// meet returns what is known of a message; its seal is 0 if that is nothing yet.
func (s *Sealer) meet(m proto.Message, n *int) *sealed {
	k := s.known[m]
	if k == nil {
		k = &sealed{}
		s.known[m] = k
	}
	if k.seal != s.seals {
		*n++
	}
	return k
}

// fewHosts are faster by one goroutine than by two.
const fewHosts = 32

// hosts are the digests of virtual hosts; those of many new ones are made on two processors.
func (s *Sealer) hosts(hosts []*routev3.VirtualHost, n *int) []*sealed {
	all := make([]*sealed, len(hosts))
	var fresh []*sealed
	var messages []proto.Message
	for i, v := range hosts {
		k := s.meet(v, n)
		all[i] = k
		if k.seal == 0 {
			fresh, messages = append(fresh, k), append(messages, v)
		}
		k.seal = s.seals
	}
	half := len(fresh)
	if half >= fewHosts {
		half /= 2
	}
	var other sync.WaitGroup
	other.Go(func() {
		var d digester
		for i := half; i < len(fresh); i++ {
			fresh[i].sum = d.digest(messages[i])
		}
	})
	for i := range half {
		fresh[i].sum = s.digest(messages[i])
	}
	other.Wait()
	return all
}

var virtualHosts = (&routev3.RouteConfiguration{}).ProtoReflect().Descriptor().Fields().ByName("virtual_hosts")

// appendRoutes adds the digest of a route configuration, which is that of its virtual hosts' and of all else in it.
func (s *Sealer) appendRoutes(b []byte, rc *routev3.RouteConfiguration, n *int) []byte {
	k := s.meet(rc, n)
	if k.seal == 0 {
		shell := (&routev3.RouteConfiguration{}).ProtoReflect()
		rc.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			if fd != virtualHosts {
				shell.Set(fd, v)
			}
			return true
		})
		shell.SetUnknown(rc.ProtoReflect().GetUnknown())
		sum := s.digest(shell.Interface())
		parts := appendLength(sum[:], len(rc.GetVirtualHosts()))
		parts = slices.Grow(parts, len(rc.GetVirtualHosts())*len(digest{}))
		for _, h := range s.hosts(rc.GetVirtualHosts(), n) {
			parts = append(parts, h.sum[:]...)
		}
		whole := sha256.Sum256(parts)
		copy(k.sum[:], whole[:])
	} else if k.seal != s.seals {
		for _, v := range rc.GetVirtualHosts() { // they are still in use
			if h := s.known[v]; h != nil && h.seal != s.seals {
				h.seal = s.seals
				*n++
			}
		}
	}
	k.seal = s.seals
	return append(b, k.sum[:]...)
}

// digester makes digests, one after the other.
type digester struct{ scratch []byte }

func (s *digester) digest(m proto.Message) (d digest) {
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(s.scratch[:0], m)
	if err != nil {
		// Only text that is not UTF-8 gets here, and the other half refuses such a message whatever the version is.
		b = append(s.scratch[:0], err.Error()...)
	}
	s.scratch = b
	sum := sha256.Sum256(b)
	copy(d[:], sum[:])
	return d
}

func appendLength(b []byte, n int) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }
