// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"fmt"
	"slices"
	"testing"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

func TestVirtualServicesComeInTheOrderInWhichAConsumerSeesThem(t *testing.T) {
	vs := func(name, day, exportTo string) string {
		if exportTo != "" {
			exportTo = "exportTo: [" + exportTo + "], "
		}
		return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: %s, namespace: %s, "+
			"creationTimestamp: '2024-01-%sT00:00:00Z'}\nspec: {hosts: [a.b], %shttp: [{redirect: {uri: /}}]}\n---\n",
			name[2:], name[:1], day, exportTo)
	}
	in := vs("a/public-old", "01", "") + vs("a/public-young", "09", "'*'") + vs("b/public", "05", "") +
		vs("a/private-young", "08", ".") + vs("a/private-old", "07", ".") + vs("a/by-its-name", "06", "a, b") +
		vs("b/for-a", "04", "a") + vs("c/for-a-too", "03", "x, a") + vs("b/private", "02", ".") + vs("c/for-b", "02", "b")
	f := func(namespace string, want ...string) {
		t.Helper()
		config, _, _ := translateYAML(t, in, Options{Namespace: namespace})
		var got []string
		for _, v := range config.VirtualServices {
			got = append(got, v.Namespace+"/"+v.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("proxy in %s sees %v, want %v", namespace, got, want)
		}
	}
	f("a", "a/by-its-name", "a/private-old", "a/private-young", "c/for-a-too", "b/for-a",
		"a/public-old", "b/public", "a/public-young")
	f("b", "b/private", "c/for-b", "a/by-its-name", "a/public-old", "b/public", "a/public-young")
	f("x", "c/for-a-too", "a/public-old", "b/public", "a/public-young")
	f("y", "a/public-old", "b/public", "a/public-young")
}

func TestWhatIsNotForTheProxysNamespaceIsSaid(t *testing.T) {
	_, _, problems := translateYAML(t, named("VirtualService", "other/v",
		"{hosts: [a.b], exportTo: [.], http: [{redirect: {uri: /}}]}"), Options{})
	says(t, problems, mesh.Note, "VirtualService other/v: spec.exportTo: is not for namespace default of this proxy: "+
		"it is not served here")
}
