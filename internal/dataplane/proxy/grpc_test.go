// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"testing"
	"time"
)

func TestGRPCTimeoutsAreReadInMilliseconds(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"": 0, "m": 0, "1": 0, "1x": 0, "-1m": 0, "+1m": 0, "1 m": 0, "123456789m": 0,
		"0m": 0, "1n": time.Millisecond, "1u": time.Millisecond, "1500u": 2 * time.Millisecond, "2000u": 2 * time.Millisecond,
		"7m": 7 * time.Millisecond, "7S": 7 * time.Second, "7M": 7 * time.Minute, "7H": 7 * time.Hour,
		"99999999H": 365 * 24 * time.Hour,
	} {
		if got := grpcTimeout([]byte(in)); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}

func TestGRPCTimeoutsAreWrittenInEightDigits(t *testing.T) {
	for in, want := range map[time.Duration]string{
		time.Microsecond: "1m", 7 * time.Second: "7000m", 99_999_999 * time.Millisecond: "99999999m",
		100_000_000 * time.Millisecond: "100000S", 365 * 24 * time.Hour: "31536000S",
	} {
		if got := string(appendGRPCTimeout(nil, in)); got != want {
			t.Errorf("%v: %s, want %s", in, got, want)
		}
	}
}

func TestGRPCStatusOfAnAnswer(t *testing.T) {
	for code, want := range map[string]int{
		"0": 200, "1": 499, "2": 500, "3": 400, "4": 504, "5": 404, "6": 409, "7": 403, "8": 429, "9": 400, "10": 409, "11": 400,
		"12": 501, "13": 500, "14": 503, "15": 500, "16": 401, "17": 500, "": 500,
	} {
		if got := grpcToHTTP([]byte(code)); got != want {
			t.Errorf("%s: %d, want %d", code, got, want)
		}
	}
}

func TestFlagsInEnvoysOrder(t *testing.T) {
	for want, x := range map[string]exchange{
		"": {}, "UF,URX": {flag: "UF", exhausted: true}, "URX": {exhausted: true}, "DI": {delayed: true},
		"UT,DI": {delayed: true, flag: "UT"}, "DI,FI": {delayed: true, flag: "FI"}, "DI,DC": {delayed: true, flag: "DC"},
		"UF,DI,URX": {delayed: true, flag: "UF", exhausted: true}, "DI,URX": {delayed: true, exhausted: true},
	} {
		if got := (&Stream{exchange: x}).flags(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
