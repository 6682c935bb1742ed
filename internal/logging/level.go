// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"fmt"
	"log/slog"
)

// Levels are the names of levels, as Envoy and Istio spell them, from the most talkative.
var Levels = []string{"debug", "info", "warning", "error"}

// ParseLevel reads one of Levels, or warn.
func ParseLevel(name string) (slog.Level, error) {
	if name == "warn" {
		name = "warning"
	}
	for i, l := range Levels {
		if name == l {
			return slog.LevelDebug + slog.Level(4*i), nil
		}
	}
	return 0, fmt.Errorf("level %q is none of debug, info, warning, error", name)
}

// LevelName is the name of a level, or of the next one below it.
func LevelName(level slog.Level) string {
	return Levels[max(0, min((level-slog.LevelDebug)/4, slog.Level(len(Levels)-1)))]
}
