//===- Compilation.cpp - one run of moe-compile ---------------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Compilation.h"
#include "Errors.h"
#include "OutputFile.h"

#include "moe/Conversion/IsaLevels.h"
#include "moe/Conversion/TilesToGPU.h"
#include "moe/Frontend/HuggingFace.h"
#include "moe/Runtime/Cpu.h"
#include "moe/Runtime/ThreadPool.h"
#include "moe/Target/CPU.h"

#include "mlir/IR/SymbolTable.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <chrono>

using namespace moe;
namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

Compilation::Compilation(const CompileOptions &options, mlir::MLIRContext &context)
    : options(options), context(context) {}

Compilation::~Compilation() = default;

llvm::Error Compilation::timed(llvm::StringRef name, llvm::function_ref<llvm::Error()> step) {
  auto start = std::chrono::steady_clock::now();
  llvm::Error error = step();
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  steps.push_back({name.str(), seconds});
  if (options.verbose)
    llvm::errs() << llvm::formatv("moe-compile: {0,-12} {1,8:F1} ms\n", name, seconds * 1e3);
  return error;
}

/// Adds to `files` a temporary file for `path` that holds `bytes`.
static llvm::Error writeTemporary(llvm::StringRef path, llvm::ArrayRef<char> bytes, std::vector<OutputFile> &files) {
  auto file = OutputFile::create(path);
  if (!file)
    return file.takeError();
  auto write = [&](llvm::raw_fd_ostream &stream) {
    stream.write(bytes.data(), bytes.size());
    return llvm::Error::success();
  };
  if (llvm::Error error = file->append(write))
    return error;
  files.push_back(std::move(*file));
  return llvm::Error::success();
}

/// "lexicon-moe" for "models/lexicon-moe/", "gate" for "examples/gate.mlir", the real folder's name for ".".
static std::string baseName(llvm::StringRef model, bool isFile) {
  llvm::SmallString<128> real;
  if (fs::real_path(model, real))
    real = model;
  return (isFile ? path::stem(real) : path::filename(real)).str();
}

llvm::Error Compilation::chooseOutput() {
  bool stops = last && *last != Phase::Binary;
  output = options.output;
  if (output.empty() && stops)
    output = "-";
  if (output.empty()) {
    if (options.model == "-")
      return usageError("-o is needed when the model comes from standard input");
    static const llvm::StringRef endings[] = {"", ".so", ".o", ".ll", ".mlir", ".ptx", ".cubin", ".fatbin"};
    output = baseName(options.model, isFile) + endings[size_t(options.emit)].str();
  }
  if (output == "-")
    return llvm::Error::success();
  if (fs::equivalent(options.model, output) && !fs::is_directory(output))
    return inputError("output '" + output + "' is the model itself; name another file with -o");
  return checkOutput(output);
}

llvm::Error Compilation::chooseMachines() {
  std::string stored = rt::machineFilePath(), error;
  if (!options.tuneFor.empty()) {
    bool isStored = options.tuneFor == "stored";
    tuneFor = isStored ? stored : options.tuneFor;
    if (tuneFor.empty())
      return inputError("--tune-for=stored: expected XDG_CACHE_HOME or HOME to be set");
    auto machine = rt::readMachine(tuneFor, error);
    if (!machine)
      return inputError("--tune-for: " + error);
    reportedMachine = std::move(*machine);
    reportedSource = reportedMachine.cpu + " (" + tuneFor + ")";
    return llvm::Error::success();
  }
  reportedMachine = rt::defaultMachine();
  reportedSource = "the default machine (bench --calibrate of a compiled model stores this one)";
  if (!options.report || stored.empty())
    return llvm::Error::success();
  if (auto machine = rt::loadMachine(stored, rt::cpuModel(), rt::usableCores(), error)) {
    reportedMachine = std::move(*machine);
    reportedSource = reportedMachine.cpu + " (" + stored + ")";
  } else if (!error.empty()) {
    llvm::errs() << "moe-compile: warning: " << error << "\n";
  }
  return llvm::Error::success();
}

llvm::Error Compilation::load() {
  bool isStdin = options.model == "-";
  if (!isStdin && !fs::exists(options.model))
    return inputError("'" + options.model + "' does not exist");
  isFile = isStdin || !fs::is_directory(options.model);
  if (isFile && !isStdin && path::extension(options.model) != ".mlir")
    return inputError("'" + options.model + "': expected a checkpoint folder or an .mlir file");
  if (isFile && !options.layers.empty())
    return usageError("--layers needs a checkpoint folder");
  if (llvm::Error error = chooseOutput())
    return error;
  if (llvm::Error error = timed("load", [&] { return isFile ? loadFile() : loadFolder(); }))
    return error;
  model.info.quantizedExperts = options.quantize;
  model.info.quantizedOthers = options.quantizeOthers;
  return llvm::Error::success();
}

llvm::Error Compilation::loadFile() {
  auto buffer = llvm::MemoryBuffer::getFileOrSTDIN(options.model, /*IsText=*/true);
  if (!buffer)
    return inputError("cannot read '" + options.model + "': " + buffer.getError().message());
  sources.AddNewSourceBuffer(std::move(*buffer), llvm::SMLoc());
  diagnostics = std::make_unique<mlir::SourceMgrDiagnosticHandler>(sources, &context, llvm::errs());
  model.module = mlir::parseSourceFile<mlir::ModuleOp>(sources, &context);
  if (!model.module)
    return reportedError();
  model.info.name = options.model == "-" ? "stdin" : baseName(options.model, /*isFile=*/true);
  std::optional<uint64_t> seed;
  if (options.weights == WeightsMode::Random)
    seed = options.seed;
  auto parameters = collectFileParameters(*model.module, options.model, seed);
  if (!parameters)
    return parameters.takeError();
  model.parameters = std::move(*parameters);
  return llvm::Error::success();
}

llvm::Error Compilation::loadFolder() {
  diagnostics = std::make_unique<mlir::ScopedDiagnosticHandler>(&context, [&](mlir::Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() == mlir::DiagnosticSeverity::Error && firstError.empty())
      firstError = diagnostic.str();
    else if (diagnostic.getSeverity() == mlir::DiagnosticSeverity::Warning)
      llvm::errs() << "moe-compile: warning: " << diagnostic.str() << "\n";
    return mlir::success();
  });
  ImportOptions import;
  import.numerics = options.numericsF32 ? Numerics::F32 : Numerics::Storage;
  import.layers = options.layers;
  if (options.weights == WeightsMode::Random)
    import.randomSeed = options.seed;
  auto imported = importHuggingFace(context, options.model, import);
  if (!imported)
    return imported.takeError();
  model = std::move(*imported);
  return llvm::Error::success();
}

llvm::Error Compilation::passError(llvm::StringRef phase) {
  if (isFile)
    return reportedError();
  // The only thing in a checkpoint that a phase can object to.
  if (phase == phaseName(Phase::Fuse) && !firstError.empty() && !(options.quantize + options.quantizeOthers).empty())
    return inputError("--quantize: " + firstError);
  return internalError("phase " + phase + ": " + (firstError.empty() ? "failed without a message" : firstError));
}

llvm::Error Compilation::runPhase(Phase phase) {
  return timed(phaseName(phase), [&]() -> llvm::Error {
    PipelineOptions pipeline;
    pipeline.target = isGPU() ? Target::CUDA : Target::CPU;
    pipeline.isaLevels.assign(levels.begin(), levels.end());
    pipeline.gpuArchitectures.assign(options.gpuArch.begin(), options.gpuArch.end());
    pipeline.reference = options.reference;
    pipeline.quantizeExperts = options.quantize;
    pipeline.quantizeOthers = options.quantizeOthers;
    pipeline.tuneFor = tuneFor;
    mlir::PassManager passes(&context);
    // Checking the IR after each pass would take as long as the passes; moe-opt does it.
    passes.enableVerifier(false);
    buildPhase(passes, phase, pipeline);
    if (mlir::failed(passes.run(*model.module)) || mlir::failed(mlir::verify(*model.module)))
      return passError(phaseName(phase));
    return saveTemporary((phaseName(phase) + ".mlir").str(),
                         [&](llvm::raw_ostream &stream) { model.module->print(stream); });
  });
}

llvm::Error Compilation::takeParameters() {
  auto table = makeWeightsTable(*model.module);
  if (!table)
    return table.takeError();
  weights = std::move(*table);
  auto signatures = collectEntries(*model.module, weights);
  if (!signatures)
    return signatures.takeError();
  entries = std::move(*signatures);

  if (auto nested = mlir::SymbolTable(*model.module).lookup<mlir::ModuleOp>("prepare")) {
    nested->remove();
    prepare = nested;
  }
  for (const WeightsTensor &tensor : weights.tensors)
    mlir::SymbolTable(*model.module).lookup(tensor.name)->erase();
  return llvm::Error::success();
}

void Compilation::takeLevels() {
  levels.clear();
  for (auto level :
       model.module->getOperation()->getAttrOfType<mlir::ArrayAttr>(isaLevelsAttr).getAsRange<mlir::StringAttr>())
    levels.push_back(level.str());
}

bool Compilation::hasExternalWeights() const {
  if (weights.tensors.empty())
    return false;
  // Nothing can be appended to an object file: a linker would drop it.
  bool appends = options.emit == EmitKind::Exe || options.emit == EmitKind::Shared;
  return !appends || options.weights == WeightsMode::External;
}

llvm::Error Compilation::writeText(llvm::function_ref<void(llvm::raw_ostream &)> print) {
  if (output == "-") {
    print(llvm::outs());
    llvm::outs().flush();
    return llvm::Error::success();
  }
  auto file = OutputFile::create(output);
  if (!file)
    return file.takeError();
  auto write = [&](llvm::raw_fd_ostream &stream) {
    print(stream);
    return llvm::Error::success();
  };
  if (llvm::Error error = file->append(write))
    return error;
  return file->keep();
}

llvm::Error Compilation::saveTemporary(llvm::StringRef suffix, llvm::function_ref<void(llvm::raw_ostream &)> print) {
  if (!options.saveTemps)
    return llvm::Error::success();
  std::string name = output == "-" ? model.info.name : output;
  std::error_code code;
  llvm::raw_fd_ostream stream(name + "." + suffix.str(), code);
  if (code)
    return inputError("cannot write '" + name + "." + suffix + "': " + code.message());
  print(stream);
  return llvm::Error::success();
}

llvm::Error Compilation::writeWeightsTo(OutputFile &file) {
  return file.append([&](llvm::raw_fd_ostream &stream) {
    uint64_t position = 0;
    fs::file_size(file.getTemporary(), position);
    return writeWeights(weights, prepare.get(), *model.parameters, modelFingerprint, position, stream);
  });
}

llvm::Error Compilation::writeObject(cpu::Program &program, std::vector<OutputFile> &files) {
  llvm::SmallVector<char, 0> code;
  auto generate = [&] {
    llvm::raw_svector_ostream stream(code);
    return program.emitObject(stream);
  };
  if (llvm::Error error = timed("code", generate))
    return error;
  codeBytes = code.size();
  if (output == "-") {
    llvm::outs().write(code.data(), code.size());
    return llvm::Error::success();
  }
  return writeTemporary(output, code, files);
}

llvm::Error Compilation::linkProgram(cpu::Program &program, std::vector<OutputFile> &files) {
  // A linker writes to files only.
  bool toStandardOutput = output == "-";
  std::string place = toStandardOutput ? model.info.name : output;
  std::vector<OutputFile> objects;
  auto add = [&](llvm::StringRef name, llvm::ArrayRef<char> code) -> llvm::Error {
    codeBytes += code.size();
    return writeTemporary(place + "." + name.str() + ".o", code, objects);
  };
  if (isGPU()) {
    llvm::SmallVector<char, 0> code;
    if (llvm::Error error = emitKernelObject(code))
      return error;
    if (llvm::Error error = add("kernels", code))
      return error;
  }
  auto generate = [&]() -> llvm::Error {
    auto codes = program.emitObjects();
    if (!codes)
      return codes.takeError();
    for (auto [level, code] : llvm::zip_equal(levels, *codes)) {
      if (llvm::Error error = add(level, code))
        return error;
    }
    return llvm::Error::success();
  };
  if (llvm::Error error = timed("code", generate))
    return error;
  auto linked = OutputFile::create(place);
  if (!linked)
    return linked.takeError();
  auto link = [&] {
    std::vector<std::string> names;
    for (const OutputFile &object : objects)
      names.push_back(object.getTemporary().str());
    llvm::SmallVector<llvm::StringRef> archives;
    if (isGPU())
      archives.push_back(options.runOnHost ? "libMoeEmulator.a" : "libMoeCuda.a");
    if (options.emit == EmitKind::Obj)
      return cpu::linkRelocatable(names, architecture, linked->getTemporary());
    if (options.emit == EmitKind::Shared)
      return cpu::linkShared(names, architecture, linked->getTemporary(), path::filename(place), archives);
    return cpu::linkExecutable(names, architecture, linked->getTemporary(), archives);
  };
  if (llvm::Error error = timed("link", link))
    return error;
  if (toStandardOutput) {
    auto bytes = llvm::MemoryBuffer::getFile(linked->getTemporary());
    if (!bytes)
      return internalError("cannot read '" + linked->getTemporary().str() + "': " + bytes.getError().message());
    llvm::outs() << (*bytes)->getBuffer();
    return llvm::Error::success();
  }
  files.push_back(std::move(*linked));
  if (options.saveTemps)
    for (OutputFile &object : objects)
      files.push_back(std::move(object));
  return llvm::Error::success();
}

llvm::Error Compilation::writeBinary() {
  if (isGPU())
    if (llvm::Error error = takeKernels())
      return error;
  bool isObject = options.emit == EmitKind::Obj, isShared = options.emit == EmitKind::Shared;
  std::optional<cpu::Program> program;
  auto makeCode = [&]() -> llvm::Error {
    bool isRandom = options.weights == WeightsMode::Random;
    auto hash = fingerprint(weights, prepare.get(), isRandom ? nullptr : model.parameters.get(),
                            isRandom ? "random " + std::to_string(options.seed) : std::string());
    if (!hash)
      return hash.takeError();
    modelFingerprint = *hash;
    llvm::StringRef mode = weights.tensors.empty() ? "none" : hasExternalWeights() ? "external" : "embed";
    cpu::ModelData data;
    data.onDevice = isGPU();
    for (const Entry &entry : entries)
      data.entries.push_back(entry.name);
    data.levels = levels;
    data.manifest = writeManifest({model.info, options.numericsF32 ? Numerics::F32 : Numerics::Storage, levels,
                                   mode.str(), modelFingerprint, weights, entries, stages});
    data.tokenizer = model.info.tokenizerJson;
    auto made = cpu::Program::create(*model.module, data);
    if (!made)
      return internalError(llvm::toString(made.takeError()));
    program.emplace(std::move(*made));
    return llvm::Error::success();
  };
  if (llvm::Error error = timed("translate", makeCode))
    return error;
  if (options.emit == EmitKind::LLVM)
    return writeText([&](llvm::raw_ostream &stream) { program->print(stream); });

  // From here on everything goes to temporary files, which are renamed together at the end.
  std::string base = output == "-" ? model.info.name : output;
  std::vector<OutputFile> files;
  // The kernels of a GPU have an object file of their own.
  if (llvm::Error error = isObject && !isGPU() ? writeObject(*program, files) : linkProgram(*program, files))
    return error;

  if (!weights.tensors.empty()) {
    if (hasExternalWeights()) {
      auto file = OutputFile::create(base + ".weights");
      if (!file)
        return file.takeError();
      files.push_back(std::move(*file));
    }
    OutputFile &target = hasExternalWeights() ? files.back() : files.front();
    if (llvm::Error error = timed("weights", [&] { return writeWeightsTo(target); }))
      return error;
  }
  if (isShared) {
    llvm::SmallString<128> interface(cpu::getInstallation());
    path::append(interface, "MoeModel.h");
    auto text = llvm::MemoryBuffer::getFile(interface);
    if (!text)
      return inputError("'" + interface + "' is missing from the installation of moe-compile");
    llvm::SmallString<128> name(output);
    path::replace_extension(name, "h");
    std::string header = writeHeader(path::filename(output), (*text)->getBuffer(), model.info, entries);
    if (llvm::Error error = writeTemporary(name, header, files))
      return error;
  }
  // The main output last: where it is, the others are.
  for (OutputFile &file : llvm::reverse(files))
    if (llvm::Error error = file.keep())
      return error;
  return llvm::Error::success();
}

llvm::Error Compilation::chooseLevels() {
  if (isGPU()) {
    levels = {gpuLevel.str()};
    return llvm::Error::success();
  }
  if (options.cpu.empty())
    levels = rt::knownIsaLevels();
  else if (options.cpu.front() == "native")
    levels = {rt::chooseIsaLevel(rt::knownIsaLevels())};
  else if (options.cpu.front() == "generic")
    levels = {rt::knownIsaLevels().back()};
  else
    for (const std::string &level : options.cpu)
      if (!llvm::is_contained(levels, level))
        levels.push_back(level);
  architecture = findIsaLevel(levels.front())->architecture;
  bool links = (options.emit == EmitKind::Exe || options.emit == EmitKind::Shared) && (!last || *last == Phase::Binary);
  if (links && !cpu::canLink(architecture))
    return inputError("--cpu=" + levels.front() + ": this moe-compile was built without the runtime for " +
                      architectureName(architecture) + ", so it can write no program for it, but --emit=obj and llvm");
  return llvm::Error::success();
}

llvm::Error Compilation::run() {
  if (!options.compileTo.empty())
    last = parsePhase(options.compileTo);
  if (options.emit == EmitKind::MLIR && !last)
    last = Phase::LLVM;
  if (llvm::Error error = chooseLevels())
    return error;

  if (llvm::Error error = chooseMachines())
    return error;
  if (llvm::Error error = chooseArchitectures())
    return error;
  if (llvm::Error error = load())
    return error;
  for (Phase phase : {Phase::Import, Phase::Route, Phase::Distribute, Phase::Fuse, Phase::Pack, Phase::Tile,
                      Phase::Bufferize, Phase::Kernel, Phase::LLVM}) {
    if (llvm::Error error = runPhase(phase))
      return error;
    if (last == phase)
      return writeText([&](llvm::raw_ostream &stream) { model.module->print(stream); });
    if (phase == Phase::Fuse && !options.reference) {
      stages = collectStages(*model.module);
      countStoredBytes(model.info.costs, stages);
    }
    if (phase == Phase::Pack)
      if (llvm::Error error = takeParameters())
        return error;
    if (phase == Phase::Kernel && isGPU())
      launches = countLaunches(*model.module);
    else if (phase == Phase::Kernel)
      takeLevels();
  }
  bool kernelsOnly = options.emit == EmitKind::PTX || options.emit == EmitKind::Cubin ||
                     options.emit == EmitKind::Fatbin || (options.emit == EmitKind::LLVM && isGPU());
  if (llvm::Error error = kernelsOnly ? writeKernels() : writeBinary())
    return error;
  if (options.report) {
    uint64_t fileBytes = 0;
    if (output != "-")
      fs::file_size(output, fileBytes);
    printReport(output == "-" ? llvm::errs() : llvm::outs(),
                {model.info, weights, entries, stages, levels, reportedMachine, reportedSource,
                 tuneFor.empty() ? "the default machine" : reportedMachine.cpu, codeBytes, fileBytes, steps,
                 isGPU() ? options.gpuArch : std::vector<std::string>(), launches});
  }
  return llvm::Error::success();
}
