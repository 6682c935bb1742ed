// SPDX-License-Identifier: Apache-2.0

package proxies

import (
	"net/netip"
	"strings"
	"testing"
)

func TestProxiesAreSetUpWithAndWithoutAMirror(t *testing.T) {
	a, b := netip.MustParseAddrPort("127.0.0.1:1001"), netip.MustParseAddrPort("127.0.0.1:1002")
	listen := netip.MustParseAddrPort("127.0.0.1:1003")
	for name, render := range map[string]func(b netip.AddrPort) string{
		"nginx": func(b netip.AddrPort) string { return renderNginx("/d", "root", listen, a, b) },
		"umbra": func(b netip.AddrPort) string { return renderUmbra(Plain, a, b) },
	} {
		plain, mirrored := render(netip.AddrPort{}), render(b)
		if !strings.Contains(plain, "1001") || strings.Contains(plain, "1002") || strings.Contains(plain, "mirror") {
			t.Errorf("%s, plain:\n%s", name, plain)
		}
		for _, want := range []string{"1001", "1002", "mirror"} {
			if !strings.Contains(mirrored, want) {
				t.Errorf("%s, mirrored, lacks %s:\n%s", name, want, mirrored)
			}
		}
		if strings.Contains(plain+mirrored, "%!") {
			t.Errorf("%s is not rendered in full:\n%s\n%s", name, plain, mirrored)
		}
	}
}
