// SPDX-License-Identifier: Apache-2.0

package process

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestStatLineIsReadPastAnyCommand(t *testing.T) {
	const line = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 99 1000000 250 18446744073709551615\n"
	got, err := parseStat([]byte(line))
	want := stat{parent: 7, cpu: 1240 * time.Millisecond, bytes: 250 * int64(os.Getpagesize())}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "42 x", "42 (x) S 1 2", strings.Replace(line, "100", "many", 1)} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, got)
		}
	}
}

func TestUsageGrowsWithWork(t *testing.T) {
	begin, err := Measure(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if begin.Bytes <= 0 {
		t.Errorf("resident are %d bytes", begin.Bytes)
	}
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		now, err := Measure(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if now.CPU-begin.CPU >= 2*Tick {
			return
		}
	}
	t.Error("10 s of work cost no CPU time")
}
