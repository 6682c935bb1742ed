// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
)

// Seal sorts every list by name and sets Version to a digest of the whole content, so that equal sets have equal
// versions. The caller owns r until it publishes it; nothing is written to the messages themselves.
func (r *Resources) Seal() {
	sortBy(r.Listeners, (*listenerv3.Listener).GetName)
	sortBy(r.Routes, (*routev3.RouteConfiguration).GetName)
	sortBy(r.Clusters, (*clusterv3.Cluster).GetName)
	sortBy(r.Endpoints, (*endpointv3.ClusterLoadAssignment).GetClusterName)

	h := sha256.New()
	digest(h, r.Listeners)
	digest(h, r.Routes)
	digest(h, r.Clusters)
	digest(h, r.Endpoints)
	r.Version = hex.EncodeToString(h.Sum(nil)[:8])
}

func sortBy[M any](list []M, name func(M) string) {
	slices.SortStableFunc(list, func(a, b M) int { return cmp.Compare(name(a), name(b)) })
}

// digest writes each message with its length in front, and the list's length before all, so that no two sets of
// lists give the same bytes.
func digest[M proto.Message](h hash.Hash, list []M) {
	length(h, len(list))
	var buf []byte
	for _, m := range list {
		b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(buf[:0], m)
		if err != nil {
			// Only text that is not UTF-8 gets here, and the other half refuses such a message whatever the version is.
			b = append(buf[:0], err.Error()...)
		}
		length(h, len(b))
		h.Write(b)
		buf = b
	}
}

func length(h hash.Hash, n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	h.Write(b[:])
}
