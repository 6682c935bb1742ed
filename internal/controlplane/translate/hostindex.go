// SPDX-License-Identifier: Apache-2.0

package translate

import "strings"

// hostIndex finds hosts of a list of which one covers another, without a look at each pair.
type hostIndex struct {
	hosts []string       // in lower case
	exact map[string]int // the first host of that text
	// wild is the first host that is a wildcard of that suffix, under the first whose text ends with it.
	wild, under map[string]int
}

func newHostIndex(list []string) *hostIndex {
	x := &hostIndex{
		hosts: make([]string, len(list)), exact: make(map[string]int, len(list)),
		wild: map[string]int{}, under: map[string]int{},
	}
	for i, host := range list {
		host = strings.ToLower(host)
		x.hosts[i] = host
		first(x.exact, host, i)
		if suffix, ok := strings.CutPrefix(host, "*"); ok {
			first(x.wild, suffix, i)
		}
	}
	if len(x.wild) == 0 {
		return x
	}
	for i, host := range x.hosts {
		x.suffixes(host, func(suffix string) { first(x.under, suffix, i) })
	}
	return x
}

func first(m map[string]int, key string, i int) {
	if _, ok := m[key]; !ok {
		m[key] = i
	}
}

// suffixes calls f with each ending of a host that is a wildcard of the list.
func (x *hostIndex) suffixes(host string, f func(suffix string)) {
	host = strings.TrimPrefix(host, "*")
	for at := range len(host) + 1 {
		if _, ok := x.wild[host[at:]]; ok {
			f(host[at:])
		}
	}
}

// overlap is the first host before the i-th of the list that covers it or that it covers; -1 if there is none.
func (x *hostIndex) overlap(i int) int {
	at, host := i, x.hosts[i]
	at = min(at, x.exact[host])
	if len(x.wild) > 0 {
		x.suffixes(host, func(suffix string) { at = min(at, x.wild[suffix]) })
		if suffix, ok := strings.CutPrefix(host, "*"); ok {
			at = min(at, x.under[suffix])
		}
	}
	if at == i {
		return -1
	}
	return at
}
