// SPDX-License-Identifier: Apache-2.0

package format

import (
	"strings"
	"testing"
	"time"
)

// A machine whose clock is not set begins in 1970; a request that was under way when that happened began before.
func TestTimesAroundTheStartOfTheCalendarAreWrittenLikeOthers(t *testing.T) {
	for start, want := range map[time.Time]string{
		time.Unix(0, 0):                  "1970-01-01T00:00:00.000Z 0 1970-01-01T00:00:01.500Z",
		time.Unix(0, -1):                 "1969-12-31T23:59:59.999Z -1 1970-01-01T00:00:01.499Z",
		time.Unix(-1, 250_000_000):       "1969-12-31T23:59:59.250Z -1 1970-01-01T00:00:00.750Z",
		time.Unix(-86_400, 0):            "1969-12-31T00:00:00.000Z -86400 1969-12-31T00:00:01.500Z",
		time.Unix(4_102_444_800, 10_000): "2100-01-01T00:00:00.000Z 4102444800 2100-01-01T00:00:01.500Z",
	} {
		tmpl, err := ParseTemplate("%START_TIME% %START_TIME(%s)% %EMIT_TIME%")
		if err != nil {
			t.Fatal(err)
		}
		v := Values{Start: start, Duration: 1500 * time.Millisecond}
		if got := string(tmpl.Append(nil, &v)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		line := string(AppendAccessLog(nil, &Record{Start: start, Duration: 1500}))
		if began, _, _ := strings.Cut(want, " "); !strings.HasPrefix(line, "["+began+"] ") {
			t.Errorf("the log's line is %q", line)
		}
	}
}
