// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"bytes"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// keepAliveTimeout is how long to keep the connection by the host's Keep-Alive field ("timeout=5, max=100"), 0 if it
// tells none.
func keepAliveTimeout(h *codec.Head) time.Duration {
	const parameter = "timeout="
	for i := range h.Fields {
		if h.Fields[i].ID != codec.KeepAlive { // its name is removed already: it is hop-by-hop
			continue
		}
		for list := h.Fields[i].Value; len(list) > 0; {
			var p []byte
			p, list, _ = bytes.Cut(list, []byte(","))
			p = bytes.TrimSpace(p)
			if len(p) <= len(parameter) || !codec.EqualFold(p[:len(parameter)], parameter) {
				continue
			}
			seconds := 0
			for _, c := range p[len(parameter):] {
				if c < '0' || c > '9' {
					return 0
				}
				seconds = min(seconds*10+int(c-'0'), maxKeep)
			}
			return max(time.Duration(seconds)*time.Second-idleMargin, idleLeast)
		}
	}
	return 0
}
