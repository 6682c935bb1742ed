// SPDX-License-Identifier: Apache-2.0

//go:build race

package mirror_test

// raceDetector multiplies memory: what a process takes then says nothing.
const raceDetector = true
