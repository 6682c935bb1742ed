// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/umbra-mesh/umbra/internal/controlplane/compile"
	"github.com/umbra-mesh/umbra/internal/controlplane/source"
	"github.com/umbra-mesh/umbra/internal/controlplane/translate"
)

// FuzzResourcesAreValid holds that whatever is not refused compiles to what the other half accepts: one invalid route
// would have its whole route configuration refused, and with it those of all others.
func FuzzResourcesAreValid(f *testing.F) {
	for _, file := range goldens(f) {
		f.Add(read(f, file).section("in.yaml"))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		set, _, err := source.Load([]string{source.Stdin}, source.Options{Stdin: bytes.NewReader(in)})
		if err != nil {
			return
		}
		config, endpoints, _ := translate.Translate(set.Resources, translate.Options{
			AllowUnsupported: []string{"VirtualService", "Gateway", "Service", "ServiceEntry", "DestinationRule"},
		})
		resources, _ := compile.Compile(config, endpoints, compile.Options{
			Outbound: netip.MustParseAddrPort("127.0.0.1:15001"),
		})
		if err := resources.Validate(); err != nil {
			t.Error(err)
		}
	})
}
