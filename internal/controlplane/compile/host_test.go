// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"slices"
	"testing"
)

func TestWildcardCoversNamesBelowItOnly(t *testing.T) {
	for _, c := range [][2]string{
		{"*", "a"}, {"*", "*"}, {"*", "*.a"}, {"a.b", "a.b"}, {"*.b", "a.b"}, {"*.b", "x.a.b"},
		{"*.b", "*.a.b"}, {"*.b", "*.b"},
	} {
		if !covers(c[0], c[1]) {
			t.Errorf("%q does not cover %q", c[0], c[1])
		}
	}
	for _, c := range [][2]string{
		{"a", "*"}, {"*.b", "b"}, {"*.b", ".b"}, {"*.b", "*"}, {"*.a.b", "*.b"}, {"a.b", "x.a.b"}, {"*.b", "a.bb"},
	} {
		if covers(c[0], c[1]) {
			t.Errorf("%q covers %q", c[0], c[1])
		}
	}
}

func TestFullNamesComeBeforeWildcardsAndLongBeforeShort(t *testing.T) {
	want := []string{"a.example", "z", "*.long.example", "*.example", "*.b", "*.c", "*"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, bySpecificity)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
