// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bufio"
	"fmt"
	"net/http"
)

// Cluster is what /clusters tells of one cluster. It is printed as it is.
type Cluster struct {
	Name  string
	Stats []Stat // of the cluster, e.g. default_priority::max_connections
	Hosts []Host
}

// Host is one address of a cluster.
type Host struct {
	Address string // ip:port
	Stats   []Stat // e.g. rq_active, health_flags, weight
}

// Stat is one number or word, named as Envoy names it.
type Stat struct{ Name, Value string }

// clusters prints one line a fact, in Envoy's form: cluster::stat::value and cluster::host::stat::value.
func (s *server) clusters(w http.ResponseWriter, r *http.Request) {
	if format := r.URL.Query().Get("format"); format != "" && format != "text" {
		http.Error(w, fmt.Sprintf("format %q: only text is known", format), http.StatusBadRequest)
		return
	}
	text(w)
	out := bufio.NewWriter(w)
	defer func() { _ = out.Flush() }() // the reader may be gone
	for _, c := range s.Clusters() {
		for _, st := range c.Stats {
			fmt.Fprintf(out, "%s::%s::%s\n", c.Name, st.Name, st.Value)
		}
		for _, h := range c.Hosts {
			for _, st := range h.Stats {
				fmt.Fprintf(out, "%s::%s::%s::%s\n", c.Name, h.Address, st.Name, st.Value)
			}
		}
	}
}
