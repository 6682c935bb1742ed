// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"strings"
	"testing"
)

func TestUpgradesAreSkippedCountedAndSaidOnceForEachMirror(t *testing.T) {
	r := newRig(t, Limits{})
	a, b := r.policy("a"), r.policy("b")
	h := head(t, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	var said string
	r.do(func() {
		for range 3 {
			if tap := r.local.Arm([]Policy{a, b}, &Request{Head: h}); tap != nil {
				t.Error("a copy was armed")
			}
		}
	})
	r.do(func() { said = r.errors.String() })
	for _, p := range []Policy{a, b} {
		eventually(t, "counted", func() bool { return p.Stats.Counts().Skipped == 3 })
		if n := p.Stats.Counts(); n.Eligible != 3 || n.Selected != 0 {
			t.Errorf("%+v", n)
		}
		if n := strings.Count(said, "cluster="+p.Stats.Cluster); n != 1 {
			t.Errorf("said %d times of %s:\n%s", n, p.Stats.Cluster, said)
		}
	}
}
