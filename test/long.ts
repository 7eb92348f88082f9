// SPDX-License-Identifier: Apache-2.0
// Whether stories are told at their full length: `npm run test:long`. Every statement is proved without it, too;
// the long form repeats more often what might go wrong once in a while.

export const long = process.env.PSP_TEST_LONG === '1';
