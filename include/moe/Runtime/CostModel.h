//===- CostModel.h - how long a stage of a model takes --------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A roofline with memory levels: a stage (one matrix product, attention, the element-wise rest) takes
//
//     max(bytes / read bandwidth, operations / peak) + parallel loops * overhead of one
//
// where the numbers of the machine are measured once (`bench --calibrate`, stored per user) and those of the stage
// come from its shapes. Used by the compiler (--report, tile sizes) and by compiled models (bench: predicted next to
// measured), so it knows neither MLIR nor models. docs/CostModel.md has the formulas and their limits.
//
// Units: seconds, bytes, operations (a multiplication and an addition count two).
//
//===----------------------------------------------------------------------===//
#ifndef MOE_RUNTIME_COSTMODEL_H
#define MOE_RUNTIME_COSTMODEL_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moe::rt {

//===----------------------------------------------------------------------===//
// Machines
//===----------------------------------------------------------------------===//

/// What the operands of a product are when they are multiplied: this and the level decide the instruction (its
/// "recipe"). Weights in other formats are decoded to one of these first.
enum class Arithmetic { F32, BF16, Int8 };

/// "f32", "bf16", "int8".
std::string_view arithmeticName(Arithmetic arithmetic);
std::optional<Arithmetic> parseArithmetic(std::string_view name);

/// A rate of one thread, and of all threads of the machine together; per second.
struct Rate {
  double one = 0, all = 0;
};

/// How fast a buffer of `footprint` bytes (of all threads together) is read again and again.
struct BandwidthPoint {
  double footprint = 0;
  Rate bytes;
};

/// Most operations per second of the instruction that a level uses for an arithmetic.
struct Peak {
  std::string level;
  Arithmetic arithmetic = Arithmetic::F32;
  Rate operations;
};

/// A machine as the model sees it. `cpu` and `threads` together are its name.
struct Machine {
  std::string cpu;
  int threads = 1;                       // what "all" means in the rates
  double l2Bytes = 0;                    // of one core
  double l3Bytes = 0;                    // of the machine
  double loopSeconds = 0;                // a parallel loop without work on all threads
  std::vector<BandwidthPoint> bandwidth; // ascending footprints, at least one
  std::vector<Peak> peaks;

  /// Bytes per second that `threads` threads read together from a working set of `footprint` bytes: between two
  /// measured footprints linear in the logarithm, outside the nearest one. Limited by `threads` times one thread.
  double readBandwidth(double footprint, int threads) const;

  /// Operations per second of `threads` threads; 0 if this was never measured. Linear between one and all threads.
  double peak(std::string_view level, Arithmetic arithmetic, int threads) const;

  /// Seconds that a parallel loop costs beside its work: none on one thread.
  double loopOverhead(int threads) const;
};

/// The machine that is assumed where none was measured, and for everything that may change code: a server core of
/// about 2019 with AVX-512 (13 GB/s and 140 GFLOP/s per core), and what its successors add: 2 MiB of L2 and the levels
/// above. Fixed numbers, so that a build does not depend on the machine it is made on.
const Machine &defaultMachine();

/// What this machine's processor calls itself, with family, model and stepping where there are such.
std::string cpuModel();

/// The file with this user's calibrations: moe-mlir/machine.json in $XDG_CACHE_HOME, else in $HOME/.cache; empty if
/// neither variable is set.
std::string machineFilePath();

/// The machine called (`cpu`, `threads`) in the file `path`. Nothing if there is no such file or no such machine in it,
/// with `error` empty; nothing with a one-line `error` if the file cannot be read or is not what storeMachine writes.
std::optional<Machine> loadMachine(const std::string &path, const std::string &cpu, int threads, std::string &error);

/// The machine to tune for in a file that the user named: the one with this processor's name, else the only one.
/// Nothing, with a one-line `error`, if there is no such file, it is invalid, or it leaves the choice open.
std::optional<Machine> readMachine(const std::string &path, std::string &error);

/// A machine as JSON text, as in the file.
std::string machineText(const Machine &machine);

/// Puts `machine` into the file `path`, in place of the one of the same name; others stay. An invalid file is replaced.
/// The file appears by rename, with its folder made if need be. False with a one-line `error` if that fails.
bool storeMachine(const std::string &path, const Machine &machine, std::string &error);

//===----------------------------------------------------------------------===//
// Stages
//===----------------------------------------------------------------------===//

enum class StageKind {
  Product,   // weights times rows, in one or many groups
  Attention, // over a key-value cache
  Rows,      // element-wise operations, norms, selections: only activations
};

/// How many rows a call has in a stage.
enum class RowsOf {
  Tokens,  // one per token
  Choices, // one per token and chosen expert
  Kept,    // one per sequence: only the last token's logits are computed
};

/// One stage of an entry function, everything of one execution.
struct Stage {
  std::string name; // "gate/up"
  StageKind kind = StageKind::Product;
  RowsOf rows = RowsOf::Tokens;
  Arithmetic arithmetic = Arithmetic::F32;
  double repeats = 1;        // executions in one call (layers of a model)
  double loops = 1;          // parallel loops of one execution
  int64_t groups = 1;        // experts; 1: dense
  int64_t choices = 1;       // experts of a token
  double groupBytes = 0;     // weights of one group
  double rowBytes = 0;       // activations read and written, per row
  double rowOperations = 0;  // per row
  double positionBytes = 0;  // Attention: cache read per position of a sequence
  double pairOperations = 0; // Attention: per pair of a token and a position it sees
  int64_t window = 0;        // Attention: positions a token sees; 0: all before it
};

/// The shape of a call. Rows of Kept stages are its sequences.
struct Call {
  double tokens = 1;    // of all sequences together
  double sequences = 1; // of equal length
  double past = 0;      // positions in the cache before the call
  /// Rows of each expert in each layer, where they are known. Else routing is as if every token chose its experts at
  /// random, independently.
  std::vector<std::vector<int64_t>> counts;
};

/// What a stage costs in one call, all its executions together.
struct StageCost {
  std::string name;
  double rows = 0, groups = 0; // groups: those with rows, whose weights are read
  double weightBytes = 0, activationBytes = 0, operations = 0;
  double memorySeconds = 0, computeSeconds = 0, overheadSeconds = 0;

  double bytes() const { return weightBytes + activationBytes; }
  double seconds() const { return (memorySeconds > computeSeconds ? memorySeconds : computeSeconds) + overheadSeconds; }
};

/// The number of `groups` that `tokens` tokens with `choices` random ones each are expected to hit:
/// E (1 - (1 - k/E)^T).
double expectedGroups(int64_t groups, int64_t choices, double tokens);

/// The expected number of rows if each group's rows are filled up to a multiple of `granularity`.
double expectedPaddedRows(int64_t groups, int64_t choices, double tokens, int64_t granularity);

/// Rows that one instruction of this recipe multiplies whether they are there or not: 16 for AMX tiles, else 1.
int64_t rowGranularity(std::string_view level, Arithmetic arithmetic);

/// Costs of `stages` in one call on `threads` threads with the code of `level`. Weights come from where a working set
/// of `footprint` bytes lies; 0: of all weights and cache that the call reads, as in calls one after the other.
std::vector<StageCost> predict(const std::vector<Stage> &stages, const Call &call, const Machine &machine,
                               std::string_view level, int threads, double footprint = 0);

/// Sum of the seconds.
double totalSeconds(const std::vector<StageCost> &costs);

//===----------------------------------------------------------------------===//
// Choices
//===----------------------------------------------------------------------===//

/// A grouped product as far as its tiles depend on it.
struct TileStage {
  int64_t columns = 0;    // of one weight
  int64_t depth = 0;      // length of the sums
  int64_t weights = 1;    // that share the rows (gate and up: 2)
  double rowBytes = 2;    // of an element of the rows
  double weightBytes = 2; // of an element of the weights
};

/// Columns of a panel of packed weights.
constexpr int64_t panelColumns = 16;

/// Most rows of a tile of `stage` on `machine`, a power of two from 16 to 256: as many as let their block stay in half
/// of L2, so that the weights are read seldom; where even few do not fit, 256, with the rows read again for each pair
/// of panels, if that moves less. Never changes a result.
int64_t chooseTileRows(const TileStage &stage, const Machine &machine = defaultMachine());

} // namespace moe::rt

#endif // MOE_RUNTIME_COSTMODEL_H
