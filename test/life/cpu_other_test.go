// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package life_test

// oneCPU leaves it to GOMAXPROCS: there is no such call here.
func oneCPU() error { return nil }
