// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

func (d *destinationRule) loadBalancer(path string, in *networking.LoadBalancerSettings,
	outlier *networking.OutlierDetection,
) *mesh.LoadBalancer {
	if in == nil {
		return nil
	}
	out := &mesh.LoadBalancer{
		Place:    d.at(path),
		Hash:     d.consistentHash(path+".consistentHash", in.GetConsistentHash()),
		Locality: d.localityLB(path+".localityLbSetting", in.GetLocalityLbSetting(), outlier),
		Warmup:   d.warmup(path, in),
	}
	switch in.GetSimple() {
	case networking.LoadBalancerSettings_ROUND_ROBIN:
		out.Simple = mesh.RoundRobin
	case networking.LoadBalancerSettings_RANDOM:
		out.Simple = mesh.Random
	case networking.LoadBalancerSettings_PASSTHROUGH:
		out.Simple = mesh.Passthrough
	}
	if out.Warmup != nil && (out.Hash != nil || out.Simple == mesh.Random || out.Simple == mesh.Passthrough) {
		d.warn(path+".warmup", "", "only round robin and least request warm endpoints up: it has no effect")
	}
	if in.GetLocalityLbSetting() != nil && in.GetZoneAwareLbSetting() != nil {
		d.error(path+".zoneAwareLbSetting", "keep one of them",
			"only one of localityLbSetting and zoneAwareLbSetting can be set")
	}
	return out
}

// maxTable is Envoy's bound of a Maglev table.
const maxTable = 5_000_011

func (d *destinationRule) consistentHash(path string,
	in *networking.LoadBalancerSettings_ConsistentHashLB,
) *mesh.ConsistentHash {
	if in == nil {
		return nil
	}
	ring := in.GetMinimumRingSize()
	out := &mesh.ConsistentHash{
		Header: in.GetHttpHeaderName(), SourceIP: in.GetUseSourceIp(), Query: in.GetHttpQueryParameterName(),
		MinimumRing: max(ring, in.GetRingHash().GetMinimumRingSize()),
	}
	if c := in.GetHttpCookie(); c != nil {
		out.Cookie = &mesh.HashCookie{Name: c.GetName(), Path: c.GetPath()}
		if c.GetTtl() != nil {
			out.Cookie.TTL = new(c.GetTtl().AsDuration())
		}
		if c.GetName() == "" {
			d.error(path+".httpCookie.name", "name the cookie", "name required for HttpCookie")
		}
		d.cookieAttributes(path+".httpCookie.attributes", c)
	} else if out.Header == "" && !out.SourceIP && out.Query == "" {
		d.warn(path, "add httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName",
			"no key is given: each request goes to any endpoint")
	}
	if ring != 0 {
		d.warn(path+".minimumRingSize", "", "consistent hash MinimumRingSize is deprecated, "+
			"use ConsistentHashLB's RingHash configuration instead")
		if in.GetHashAlgorithm() != nil {
			d.error(path+".minimumRingSize", "remove it", "only one of MinimumRingSize or Maglev/Ringhash can be specified")
		}
	}
	if m := in.GetMaglev(); m != nil {
		out.Maglev, out.TableSize = true, m.GetTableSize()
		at := path + ".maglev.tableSize"
		switch {
		case out.TableSize == 0:
			d.error(at, "write a prime such as 65537", "tableSize must be set for maglev")
		case out.TableSize >= maxTable:
			d.error(at, "write a prime such as 65537", "tableSize must be less than %d for maglev", maxTable)
		case !isPrime(out.TableSize):
			d.error(at, "write a prime such as 65537", "tableSize must be a prime number for maglev")
		}
	}
	return out
}

func (d *destinationRule) cookieAttributes(path string, c *networking.LoadBalancerSettings_ConsistentHashLB_HTTPCookie) {
	seen := map[string]bool{}
	for i, a := range c.GetAttributes() {
		at := index(path, i) + ".name"
		switch {
		case a.GetName() == "":
			d.error(at, "name it", "cookie attribute name cannot be empty")
		case seen[a.GetName()]:
			d.error(at, "keep one of them", "duplicate cookie attribute name: %s", a.GetName())
		}
		seen[a.GetName()] = true
	}
}

func isPrime(n uint64) bool {
	if n < 4 {
		return n > 0 // as Envoy, for which 1 is one
	}
	for f := uint64(2); f <= uint64(math.Sqrt(float64(n))); f++ {
		if n%f == 0 {
			return false
		}
	}
	return true
}

func (d *destinationRule) localityLB(path string, in *networking.LocalityLoadBalancerSetting,
	outlier *networking.OutlierDetection,
) *mesh.LocalityLB {
	if in == nil {
		return nil
	}
	out := &mesh.LocalityLB{FailoverPriority: slices.Clone(in.GetFailoverPriority())}
	if in.GetEnabled() != nil {
		out.Enabled = new(in.GetEnabled().GetValue())
	}
	if len(in.GetDistribute()) > 0 && len(in.GetFailover()) > 0 {
		d.error(path+".failover", "keep one of them", "can not simultaneously specify 'distribute' and 'failover'")
		return out
	}
	for i, name := range out.FailoverPriority {
		if len(in.GetFailover()) > 0 && slices.Contains(topology, name) {
			d.error(index(path+".failoverPriority", i), "keep one of them", "can not simultaneously set 'failover' and "+
				"topology label '%s' in 'failover_priority'", name)
		}
	}
	var from []string
	for i, x := range in.GetDistribute() {
		at := index(path+".distribute", i)
		from = append(from, x.GetFrom())
		out.Distribute = append(out.Distribute, mesh.Distribute{From: x.GetFrom(), To: maps.Clone(x.GetTo())})
		d.shares(at+".to", x.GetTo())
		if problem := localities(slices.Sorted(maps.Keys(x.GetTo()))); problem != "" {
			d.error(at+".to", localityFix, "%s", problem)
		}
	}
	if problem := localities(from); problem != "" {
		d.error(path+".distribute", localityFix, "%s", problem)
	}
	if len(in.GetFailover())+len(in.GetFailoverPriority()) > 0 && outlier == nil {
		d.warn(path, "add outlierDetection", "outlier detection policy must be provided for failover")
	}
	for i, x := range in.GetFailover() {
		at := index(path+".failover", i)
		out.Failover = append(out.Failover, mesh.Failover{From: x.GetFrom(), To: x.GetTo()})
		both := x.GetFrom() + x.GetTo()
		if x.GetFrom() == x.GetTo() {
			d.error(at, "write two regions", "locality lb failover settings must specify different regions")
		}
		if strings.Contains(both, "/") {
			d.error(at, "write the region alone", "locality lb failover only specify region")
		}
		if strings.Contains(both, "*") {
			d.error(at, "name the regions", "locality lb failover region should not contain '*' wildcard")
		}
	}
	return out
}

var topology = []string{"topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"}

const localityFix = "write region, region/zone or region/zone/subzone; the last of a locality may be *"

// shares checks the percentages of one origin.
func (d *destinationRule) shares(path string, to map[string]uint32) {
	var total uint64
	for _, name := range slices.Sorted(maps.Keys(to)) {
		if to[name] < 1 || to[name] > 100 {
			d.error(path+"["+name+"]", "write 1 to 100", "locality weight must be in range [1, 100]")
			return
		}
		total += uint64(to[name])
	}
	if total != 100 {
		d.error(path, "make the weights add up to 100", "total locality weight %v != 100", total)
	}
}

// localities says what is wrong with localities that stand beside each other: they are well formed, and none has
// another in it.
func localities(list []string) string {
	for i, name := range list {
		parts := strings.Split(name, "/")
		if n := strings.Count(name, "*"); n > 1 || n == 1 && !strings.HasSuffix(name, "*") {
			return fmt.Sprintf("locality %s wildcard '*' number can not exceed 1 and must be in the end", name)
		}
		if slices.Contains(parts, "") || len(parts) > 3 {
			return fmt.Sprintf("locality %s must not contain empty region/zone/subzone info", name)
		}
		for _, other := range list[:i] {
			if overlap(parts, strings.Split(other, "/")) {
				return fmt.Sprintf("locality %s overlap with previous specified ones", name)
			}
		}
	}
	return ""
}

// overlap tells whether one of two localities is in the other.
func overlap(a, b []string) bool {
	for i := range min(len(a), len(b)) {
		if a[i] == "*" || b[i] == "*" {
			return true
		}
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
