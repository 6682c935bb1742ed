// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// Labels by which a priority can ask for a place; every endpoint and proxy with a locality has them.
const (
	regionLabel  = "topology.kubernetes.io/region"
	zoneLabel    = "topology.kubernetes.io/zone"
	subzoneLabel = "topology.istio.io/subzone"
)

// placeByPolicy gives localities the weights and priorities that the policy asks for, seen from where the proxy is, and
// tells the cluster when weights of localities count. Fail-over is for clusters with outlier detection only: without,
// nothing would ever leave the first priority.
func (k *compiler) placeByPolicy(c *clusterv3.Cluster, p places, policy *mesh.TrafficPolicy) places {
	var setting mesh.LocalityLB // the default is on, and says nothing
	if policy.LoadBalancer != nil && policy.LoadBalancer.Locality != nil {
		setting = *policy.LoadBalancer.Locality
	}
	if setting.Enabled != nil && !*setting.Enabled {
		return p
	}
	weighted := func() {
		lbConfig(c).LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
		}
	}
	switch {
	case len(setting.Distribute) > 0:
		weighted()
		p.weigh()
		return k.distribute(p, setting.Distribute)
	case c.GetOutlierDetection() == nil:
		return p
	}
	byLabels := len(setting.FailoverPriority) > 0
	if byLabels {
		p = k.byLabels(p, setting.FailoverPriority)
	}
	if !byLabels || len(setting.Failover) > 0 {
		k.byDistance(p, setting.Failover)
	}
	p.closeRanks()
	if byLabels || len(setting.Failover) > 0 {
		weighted()
		p.weigh()
	}
	return p
}

// weigh gives each locality the sum of its endpoints' weights.
func (p places) weigh() {
	for _, place := range p {
		var sum uint64
		for _, e := range place.endpoints {
			sum += uint64(cmp.Or(e.Weight, 1))
		}
		place.weight = uint32(min(sum, math.MaxUint32))
	}
}

// distribute carries out the first entry for where the proxy is. The share of each pattern is divided among the
// localities in it, by their weights and rounded up; the longest pattern takes a locality first. Localities without a
// share go.
func (k *compiler) distribute(p places, list []mesh.Distribute) places {
	i := slices.IndexFunc(list, func(d mesh.Distribute) bool { return localityMatches(k.opts.Locality, d.From) })
	if i < 0 {
		return p
	}
	patterns := slices.SortedFunc(maps.Keys(list[i].To), func(a, b string) int {
		return cmp.Or(cmp.Compare(specificity(b), specificity(a)), cmp.Compare(a, b))
	})
	shares := make(map[*place]uint32, len(p))
	for _, pattern := range patterns {
		var in places
		var total uint64
		for _, place := range p {
			if _, taken := shares[place]; !taken && localityMatches(k.seen(place.label), pattern) {
				in = append(in, place)
				total += uint64(place.weight)
			}
		}
		for _, place := range in {
			share := uint64(place.weight) * uint64(list[i].To[pattern])
			shares[place] = uint32((share + total - 1) / total)
		}
	}
	return slices.DeleteFunc(p, func(place *place) bool {
		place.weight = shares[place]
		return place.weight == 0
	})
}

// seen is a locality as it is compared with the proxy's: of one that tells its zone alone (a Kubernetes zone) the region is
// taken for the proxy's own.
func (k *compiler) seen(label string) string {
	if !strings.HasPrefix(label, "/") {
		return label
	}
	region, _, _ := strings.Cut(k.opts.Locality, "/")
	return region + label
}

// localityMatches reports whether a locality is in one of a rule: "*", and what the rule leaves out, is any.
func localityMatches(label, rule string) bool {
	region, zone, subzone := splitLocality(label)
	wantRegion, wantZone, wantSubzone := splitLocality(rule)
	return (wantRegion == "*" || wantRegion == region) &&
		(wantZone == "*" || wantZone == "" || wantZone == zone) &&
		(wantSubzone == "*" || wantSubzone == "" || wantSubzone == subzone)
}

// specificity is how many parts of a rule's locality say something.
func specificity(rule string) int {
	n := 0
	for part := range strings.SplitSeq(rule, "/") {
		if part != "*" && part != "" {
			n++
		}
	}
	return n
}

// distances is how many priorities byDistance tells apart.
const distances = 5

// byDistance sets priorities by how far a locality is, within those that are set already: the proxy's own subzone, its
// zone, its region, the region that takes over from it (any other, if none is named), elsewhere.
func (k *compiler) byDistance(p places, failover []mesh.Failover) {
	if k.opts.Locality == "" {
		return
	}
	region, zone, subzone := splitLocality(k.opts.Locality)
	over := slices.IndexFunc(failover, func(f mesh.Failover) bool { return f.From == region })
	for _, place := range p {
		r, z, s := splitLocality(k.seen(place.label))
		var distance uint32
		switch {
		case r != region && over >= 0 && failover[over].To != r:
			distance = 4
		case r != region:
			distance = 3
		case z != zone:
			distance = 2
		case s != subzone:
			distance = 1
		}
		place.priority = place.priority*distances + distance
	}
}

// byLabels splits localities by how many labels, from the first on, an endpoint has as the proxy does: all of them is
// priority 0. "name=value" asks for that value instead of the proxy's.
func (k *compiler) byLabels(p places, wanted []string) places {
	own := placeLabels(k.opts.Labels, k.opts.Locality)
	if len(own) == 0 {
		return p
	}
	var out places
	for _, from := range p {
		byPriority := map[uint32]*place{}
		for i, e := range from.endpoints {
			have := placeLabels(e.Labels, k.seen(e.Locality))
			var priority uint32
			for j, label := range wanted {
				name, value, given := strings.Cut(label, "=")
				if !given {
					value = own[name]
				}
				if have[name] != value {
					priority = uint32(len(wanted) - j)
					break
				}
			}
			to := byPriority[priority]
			if to == nil {
				to = &place{label: from.label, priority: priority}
				byPriority[priority] = to
			}
			to.endpoints = append(to.endpoints, e)
			to.addresses = append(to.addresses, from.addresses[i])
		}
		for _, priority := range slices.Sorted(maps.Keys(byPriority)) {
			out = append(out, byPriority[priority])
		}
	}
	return out
}

// placeLabels are labels together with those that tell of a locality; what a label says itself goes first. The map may
// be the one given.
func placeLabels(labels map[string]string, label string) map[string]string {
	if label == "" {
		return labels
	}
	all := make(map[string]string, len(labels)+3)
	region, zone, subzone := splitLocality(label)
	for name, value := range map[string]string{regionLabel: region, zoneLabel: zone, subzoneLabel: subzone} {
		if value != "" {
			all[name] = value
		}
	}
	maps.Copy(all, labels)
	return all
}

// closeRanks renumbers priorities from 0 without gaps, as Envoy wants them.
func (p places) closeRanks() {
	var used []uint32
	for _, place := range p {
		if i, found := slices.BinarySearch(used, place.priority); !found {
			used = slices.Insert(used, i, place.priority)
		}
	}
	for _, place := range p {
		i, _ := slices.BinarySearch(used, place.priority)
		place.priority = uint32(i)
	}
}
