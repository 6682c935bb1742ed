// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

func TestKeepAliveTimeoutIsUnderThePeers(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"timeout=60":           56 * time.Second,
		"timeout=5, max=100":   time.Second,
		"max=100, timeout=10":  6 * time.Second,
		"max=100,Timeout=10":   6 * time.Second,
		"timeout=4":            idleLeast,
		"timeout=1":            idleLeast,
		"timeout=0":            idleLeast,
		"timeout=999999999999": maxKeep*time.Second - idleMargin,
		"timeout=":             0,
		"timeout=x":            0,
		"timeout=5s":           0,
		"timeout=-5":           0,
		"mytimeout=9":          0,
		"max=100":              0,
		"":                     0,
	} {
		h := &codec.Head{Fields: []codec.Field{{ID: codec.KeepAlive, Value: []byte(value)}}}
		if got := keepAliveTimeout(h); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
	if got := keepAliveTimeout(&codec.Head{}); got != 0 {
		t.Errorf("no field: %v", got)
	}
}
