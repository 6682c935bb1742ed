// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"log/slog"
	"testing"
)

func TestLevelsAreReadAndNamed(t *testing.T) {
	for name, want := range map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn, "error": slog.LevelError,
	} {
		if got, err := ParseLevel(name); err != nil || got != want || LevelName(got) != name {
			t.Errorf("%s: %v, %v, %s", name, got, err, LevelName(got))
		}
	}
	if got, err := ParseLevel("warn"); err != nil || got != slog.LevelWarn {
		t.Errorf("warn: %v, %v", got, err)
	}
	for _, name := range []string{"", "Debug", "trace", "4"} {
		if _, err := ParseLevel(name); err == nil {
			t.Errorf("%q is a level", name)
		}
	}
}
