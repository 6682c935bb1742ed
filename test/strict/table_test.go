// SPDX-License-Identifier: Apache-2.0

package strict

import "testing"

func TestTheTableIsAsLongAsItClaimsAndNamesEachCaseOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Cases() {
		if seen[c.Name] || c.RFC == "" {
			t.Errorf("%q is there twice, or cites nothing", c.Name)
		}
		seen[c.Name] = true
	}
	if len(seen) < 200 || len(Odds()) < 300 {
		t.Errorf("%d cases, %d odd requests", len(seen), len(Odds()))
	}
}
