// SPDX-License-Identifier: Apache-2.0

//go:build !race

package mirror_test

const raceDetector = false
