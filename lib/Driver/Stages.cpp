//===- Stages.cpp - what the entries of a module spend their time on ------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Stages.h"

#include "dialect/Moe/IR/MoeOps.h"
#include "moe/Conversion/StageLocation.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"

#include <cmath>
#include <tuple>

using namespace mlir;
using namespace moe;
using rt::Arithmetic;
using rt::RowsOf;
using rt::Stage;
using rt::StageKind;

/// Bytes of an element; numbers of less than a byte have a fraction.
static double elementBytes(Type type) {
  Type element = getElementTypeOrSelf(type);
  return element.isIntOrFloat() ? element.getIntOrFloatBitWidth() / 8.0 : 8; // an index
}

/// Product of the sizes that are known: elements per row where one dimension, or two, are not.
static double knownSize(Type type) {
  double size = 1;
  for (int64_t dimension : cast<ShapedType>(type).getShape())
    if (!ShapedType::isDynamic(dimension))
      size *= double(dimension);
  return size;
}

static double rowBytes(Type type) { return knownSize(type) * elementBytes(type); }

/// Activations have a size that the call decides; parameters and what is made of them have not.
static bool isActivation(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && !type.hasStaticShape();
}

static Arithmetic arithmeticOf(Type type) {
  Type element = getElementTypeOrSelf(type);
  return element.isBF16() ? Arithmetic::BF16 : element.isInteger(8) ? Arithmetic::Int8 : Arithmetic::F32;
}

/// Whether data flows through `op` on its way to what says what a stage is for.
static bool isStop(Operation *op) { return isa<GroupedMatmulOp, AttentionOp, TopKOp, PlanOp, ExpertsOp>(op); }

/// The first products, selections and attentions that the result of `from` flows into, or that its operands come from.
static SetVector<Operation *> neighbours(Operation *from, bool forward) {
  SetVector<Operation *> stops, seen;
  SmallVector<Operation *> work{from};
  while (!work.empty()) {
    Operation *op = work.pop_back_val();
    SmallVector<Operation *> next;
    if (forward)
      llvm::append_range(next, op->getUsers());
    else
      for (Value operand : op->getOperands())
        if (isActivation(operand) && operand.getDefiningOp())
          next.push_back(operand.getDefiningOp());
    for (Operation *other : next) {
      // A size taken from a tensor is no use of its values.
      if (isa<tensor::DimOp>(other))
        continue;
      if (isStop(other))
        stops.insert(other);
      else if (seen.insert(other))
        work.push_back(other);
    }
  }
  return stops;
}

template <typename Op> static bool has(const SetVector<Operation *> &ops) {
  return llvm::any_of(ops, [](Operation *op) { return isa<Op>(op); });
}

/// The plan that groups the rows of `op`; null for a dense product.
static PlanOp planOf(GroupedMatmulOp op) { return op.getOffsets().getDefiningOp<PlanOp>(); }

/// Whether the rows of `x` are the ones that `keep` asks for, not all tokens.
static bool isKept(Value x) {
  auto function = x.getParentRegion()->getParentOfType<func::FuncOp>();
  auto isKeep = [&](Value value) {
    auto argument = dyn_cast<BlockArgument>(value);
    if (!argument || argument.getOwner()->getParentOp() != function)
      return false;
    auto role = function.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "moe.role");
    return role && role.getValue() == "keep";
  };
  SetVector<Operation *> seen;
  SmallVector<Value> work{x};
  while (!work.empty()) {
    Value value = work.pop_back_val();
    if (isKeep(value))
      return true;
    if (Operation *op = value.getDefiningOp(); op && !isa<func::CallOp>(op) && seen.insert(op))
      llvm::append_range(work, op->getOperands());
  }
  return false;
}

/// "exp divf mulf": the operations of an epilogue, each once.
static std::string describeEpilogue(GroupedMatmulOp op) {
  SetVector<StringRef> names;
  for (Operation &scalar : op.getEpilogue().front().without_terminator())
    names.insert(scalar.getName().stripDialect());
  return names.empty() ? "" : "epilogue " + llvm::join(names, " ");
}

namespace {

class Collector {
public:
  explicit Collector(ModuleOp module) : symbols(module) {}

  std::vector<StageInfo> visit(func::FuncOp function);

private:
  void add(Operation *op, StageInfo info);
  void merge(StageInfo info);
  void addProduct(GroupedMatmulOp op);
  void addAttention(AttentionOp op);
  void addExperts(ExpertsOp op);
  void addLinalg(linalg::LinalgOp op);
  void addRows(Operation *op, StringRef name, double bytes, double operations, bool isLoop);

  SymbolTable symbols;
  DenseMap<Operation *, std::vector<StageInfo>> known;
  std::vector<StageInfo> *current = nullptr; // of the function that is visited
  llvm::StringMap<size_t> rowStages;         // its own stages of kind Rows
};

auto key(const Stage &stage) {
  return std::tie(stage.name, stage.kind, stage.rows, stage.arithmetic, stage.loops, stage.groups, stage.choices,
                  stage.groupBytes, stage.rowBytes, stage.rowOperations, stage.positionBytes, stage.pairOperations,
                  stage.window);
}

} // namespace

/// Adds the stage that `op` is, and names it in the op's location.
void Collector::add(Operation *op, StageInfo info) {
  setStage(op, info.stage.name);
  merge(std::move(info));
}

void Collector::merge(StageInfo info) {
  for (StageInfo &other : *current)
    if (key(other.stage) == key(info.stage) && other.fused == info.fused && other.columns == info.columns &&
        other.depth == info.depth) {
      other.stage.repeats += info.stage.repeats;
      return;
    }
  current->push_back(std::move(info));
}

void Collector::addProduct(GroupedMatmulOp op) {
  Stage stage;
  double columns = double(op.getNumColumns()), depth = double(op.getDepth()), weights = double(op.getWeights().size());
  stage.arithmetic = arithmeticOf(op.getX().getType());
  stage.rowOperations = 2 * columns * depth * weights;
  stage.rowBytes = depth * elementBytes(op.getX().getType()) + columns * elementBytes(op.getInit().getType());
  for (Value weight : op.getWeights())
    stage.groupBytes += columns * depth * (op.getFormat() ? op.getCodeBits() / 8.0 : elementBytes(weight.getType()));
  for (Value scales : op.getScales())
    stage.groupBytes += columns * std::ceil(depth / double(op.getScaleGroup())) * elementBytes(scales.getType());
  for (Value scalars : op.getColumnScalars())
    stage.groupBytes += columns * elementBytes(scalars.getType());
  if (PlanOp plan = planOf(op)) {
    stage.groups = int64_t(plan.getExperts());
    stage.choices = cast<ShapedType>(plan.getIndices().getType()).getDimSize(1);
    stage.rows = RowsOf::Choices;
    bool isSecond = llvm::any_of(neighbours(op, /*forward=*/false), [&](Operation *other) {
      auto product = dyn_cast<GroupedMatmulOp>(other);
      return product && product.getOffsets() == op.getOffsets();
    });
    stage.name = isSecond ? "down" : weights > 1 ? "gate/up" : "up";
  } else {
    SetVector<Operation *> after = neighbours(op, /*forward=*/true), before = neighbours(op, /*forward=*/false);
    if (isKept(op.getX())) {
      stage.name = "head";
      stage.rows = RowsOf::Kept;
    } else {
      stage.name = has<TopKOp>(after)         ? "router"
                   : has<AttentionOp>(after)  ? "attention in"
                   : has<AttentionOp>(before) ? "attention out"
                                              : "dense";
    }
  }
  SmallVector<std::string> fused;
  if (op.getChoices())
    fused.push_back("gather");
  if (op.getWeights().size() > 1)
    fused.push_back(llvm::utostr(op.getWeights().size()) + " weights");
  if (!op.getRowScalars().empty())
    fused.push_back("row scalars");
  if (!op.getColumnScalars().empty())
    fused.push_back("column scalars");
  if (std::string epilogue = describeEpilogue(op); !epilogue.empty())
    fused.push_back(epilogue);
  Type element = getElementTypeOrSelf(op.getX().getType());
  bool isF32 = element.isF32() && llvm::all_of(op.getWeights(), [&](Value weight) {
                 return getElementTypeOrSelf(weight.getType()) == element;
               });
  // Scores of f32 are sums of fused multiply-adds.
  bool onTensorCores = element.isBF16() || element.isF16() || (isF32 && stage.name != "router");
  add(op, {std::move(stage), llvm::join(fused, ", "), onTensorCores ? columns * weights : 0, onTensorCores ? depth : 0,
           isF32 ? rt::MmaKind::F32 : rt::MmaKind::Bits16});
}

void Collector::addAttention(AttentionOp op) {
  auto query = cast<ShapedType>(op.getQuery().getType()), keys = cast<ShapedType>(op.getKeys().getType());
  double heads = double(query.getDimSize(2)), size = double(query.getDimSize(3));
  Stage stage;
  stage.name = "attention";
  stage.kind = StageKind::Attention;
  stage.rowBytes = rowBytes(query) + rowBytes(op.getResult().getType());
  stage.positionBytes = rowBytes(keys) + rowBytes(op.getCachedValues().getType());
  stage.pairOperations = 4 * heads * size; // scores and weighted sum
  stage.window = op.getWindow().value_or(0);
  add(op, {std::move(stage), ""});
}

/// Experts that stay a loop: every parameter of two dimensions is taken for a matrix.
void Collector::addExperts(ExpertsOp op) {
  auto plan = op.getOffsets().getDefiningOp<PlanOp>();
  Stage stage;
  stage.name = "experts";
  stage.rows = RowsOf::Choices;
  stage.groups = cast<ShapedType>(op.getOffsets().getType()).getDimSize(0) - 1;
  stage.choices = plan ? cast<ShapedType>(plan.getIndices().getType()).getDimSize(1) : 1;
  for (Value parameter : op.getParams()) {
    auto type = cast<ShapedType>(parameter.getType());
    double elements = type.hasStaticShape() ? double(type.getNumElements()) / double(stage.groups) : 0;
    stage.groupBytes += elements * elementBytes(type);
    if (type.getRank() == 3) {
      stage.rowOperations += 2 * elements;
      stage.arithmetic = arithmeticOf(type);
    }
  }
  for (Value rows : op.getRows())
    stage.rowBytes += rowBytes(rows.getType());
  for (Value result : op->getResults())
    stage.rowBytes += rowBytes(result.getType());
  add(op, {std::move(stage), "not cut"});
}

void Collector::addRows(Operation *op, StringRef name, double bytes, double operations, bool isLoop) {
  setStage(op, name);
  auto [place, isNew] = rowStages.try_emplace(name, current->size());
  if (isNew) {
    Stage stage;
    stage.name = name.str();
    stage.kind = StageKind::Rows;
    stage.loops = 0;
    current->push_back({std::move(stage), ""});
  }
  Stage &stage = (*current)[place->second].stage;
  stage.rowBytes += bytes;
  stage.rowOperations += operations;
  stage.loops += isLoop;
}

void Collector::addLinalg(linalg::LinalgOp op) {
  if (isa<linalg::FillOp>(*op) || !llvm::any_of(op->getResults(), isActivation))
    return;
  double bytes = 0, weightBytes = 0, iterations = 1;
  for (Value operand : op.getDpsInputs()) {
    if (!isa<ShapedType>(operand.getType()))
      continue;
    (isActivation(operand) ? bytes : weightBytes) += rowBytes(operand.getType());
  }
  for (Value result : op->getResults())
    bytes += rowBytes(result.getType());
  for (int64_t size : op.getStaticLoopRanges())
    iterations *= ShapedType::isDynamic(size) ? 1 : double(size);
  // A product that was not made grouped: of weights in another order, say.
  if (linalg::isaContractionOpInterface(op) && weightBytes > 0) {
    Stage stage;
    stage.name = "dense";
    stage.arithmetic = arithmeticOf(op.getDpsInputs().front().getType());
    stage.groupBytes = weightBytes;
    stage.rowBytes = bytes;
    stage.rowOperations = 2 * iterations;
    return add(op, {std::move(stage), ""});
  }
  double operations = 0;
  for (Operation &scalar : op.getBlock()->without_terminator())
    operations += isa<arith::ConstantOp, linalg::IndexOp>(scalar) ? 0 : 1;
  bool isRouting = has<TopKOp>(neighbours(op, /*forward=*/true)) || has<TopKOp>(neighbours(op, /*forward=*/false));
  // Phase tile puts an op that only one other reads into that one's loop.
  bool isLoop = !op->hasOneUse() || !isa<linalg::LinalgOp>(*op->user_begin());
  addRows(op, isRouting ? "routing" : "element-wise", bytes, iterations * operations, isLoop);
}

std::vector<StageInfo> Collector::visit(func::FuncOp function) {
  if (auto found = known.find(function); found != known.end())
    return found->second;
  std::vector<StageInfo> stages, *outer = current;
  llvm::StringMap<size_t> outerRows;
  std::swap(rowStages, outerRows);
  current = &stages;
  function.walk<WalkOrder::PreOrder>([&](Operation *op) {
    llvm::TypeSwitch<Operation *>(op)
        .Case([&](GroupedMatmulOp product) { addProduct(product); })
        .Case([&](AttentionOp attention) { addAttention(attention); })
        .Case([&](ExpertsOp experts) { addExperts(experts); })
        .Case([&](TopKOp select) {
          double experts = knownSize(select.getSelectionKeys().getType());
          addRows(select, "routing", experts * 4, experts * 2, true);
        })
        .Case([&](PlanOp plan) {
          double choices = knownSize(plan.getIndices().getType());
          addRows(plan, "routing", choices * 12, choices * 4, true);
        })
        .Case([&](CombineOp combine) {
          double choices = knownSize(combine.getSlots().getType());
          double columns = knownSize(combine.getResult().getType());
          addRows(combine, "combine", choices * columns * elementBytes(combine.getYs().getType()) + columns * 4,
                  2 * choices * columns, true);
        })
        .Case([&](linalg::SoftmaxOp softmax) {
          double size = knownSize(softmax.getInput().getType());
          bool isRouting = has<TopKOp>(neighbours(softmax, /*forward=*/true));
          addRows(softmax, isRouting ? "routing" : "element-wise", 2 * rowBytes(softmax.getInput().getType()), 5 * size,
                  true);
        })
        .Case([&](func::CallOp call) {
          auto callee = symbols.lookup<func::FuncOp>(call.getCallee());
          if (!callee || callee.isExternal())
            return;
          for (const StageInfo &info : visit(callee))
            merge(info);
        })
        .Case([&](linalg::LinalgOp other) { addLinalg(other); });
    // The body of a product or of experts is part of the stage.
    return isa<GroupedMatmulOp, ExpertsOp, linalg::LinalgOp>(op) ? WalkResult::skip() : WalkResult::advance();
  });
  current = outer;
  std::swap(rowStages, outerRows);
  known[function] = stages;
  return stages;
}

std::vector<EntryStages> moe::collectStages(ModuleOp module) {
  Collector collector(module);
  std::vector<EntryStages> entries;
  for (auto function : module.getOps<func::FuncOp>())
    if (function.isPublic() && !function.isExternal())
      entries.push_back({function.getSymName().str(), collector.visit(function)});
  return entries;
}

std::vector<Stage> moe::stagesOf(const std::vector<EntryStages> &entries, llvm::StringRef entry) {
  std::vector<Stage> stages;
  for (const EntryStages &other : entries)
    if (other.entry == entry)
      for (const StageInfo &info : other.stages)
        stages.push_back(info.stage);
  return stages;
}

std::vector<rt::GpuStage> moe::gpuStagesOf(const std::vector<EntryStages> &entries, llvm::StringRef entry) {
  std::vector<rt::GpuStage> stages;
  for (const EntryStages &other : entries)
    if (other.entry == entry)
      for (const StageInfo &info : other.stages)
        // A gate is one kernel, with as many rows in a block as an mma has at least.
        stages.push_back({info.stage, info.columns, info.depth,
                          info.stage.name == "router" ? rt::blockShapes().front().rows : rt::gpuMostTileRows,
                          info.mma});
  return stages;
}

/// Launches of one execution of `region`, with the first or the second branches of all choices.
static int64_t launchesOf(Region &region, bool firstBranch, const SymbolTable &symbols) {
  int64_t count = 0;
  for (Operation &op : region.getOps()) {
    if (isa<gpu::LaunchFuncOp>(op)) {
      ++count;
    } else if (auto choice = dyn_cast<scf::IfOp>(op)) {
      count += launchesOf(firstBranch ? choice.getThenRegion() : choice.getElseRegion(), firstBranch, symbols);
    } else if (auto call = dyn_cast<func::CallOp>(op)) {
      if (auto callee = symbols.lookup<func::FuncOp>(call.getCallee()))
        count += launchesOf(callee.getBody(), firstBranch, symbols);
    } else {
      for (Region &inner : op.getRegions())
        count += launchesOf(inner, firstBranch, symbols);
    }
  }
  return count;
}

std::vector<EntryLaunches> moe::countLaunches(ModuleOp module) {
  SymbolTable symbols(module);
  std::vector<EntryLaunches> entries;
  for (auto function : module.getOps<func::FuncOp>())
    if (function.isPublic() && !function.isExternal())
      entries.push_back({function.getSymName().str(), launchesOf(function.getBody(), true, symbols),
                         launchesOf(function.getBody(), false, symbols)});
  return entries;
}

void moe::countStoredBytes(llvm::MutableArrayRef<EntryCost> costs, const std::vector<EntryStages> &entries) {
  for (EntryCost &cost : costs) {
    double bytes = 0;
    for (const Stage &stage : stagesOf(entries, cost.entry))
      if (stage.groups > 1)
        bytes += stage.repeats * stage.groupBytes;
    if (bytes > 0 && cost.moeLayers > 0)
      cost.expertBytes = bytes / double(cost.moeLayers);
  }
}
