//===- CommandLine.cpp - the command line of moe-compile ------------------===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The only source of the compiler that is built with exceptions, which CLI11 needs.
//
//===----------------------------------------------------------------------===//
#include "moe/Driver/Options.h"
#include "moe/Runtime/Cpu.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <map>

using namespace moe;

namespace {

/// Everything as the user wrote it; checked and translated after parsing.
struct RawOptions {
  std::string target = "cpu", weights = "embed", numerics = "storage", runOn;
  std::string emit = "exe";
  std::vector<std::string> gpuArch, layers;
  bool version = false;
};

constexpr int statusBadInput = 1, statusUsage = 2;

CommandLine leave(int status, std::string text) {
  CommandLine result;
  result.status = status;
  result.text = std::move(text);
  return result;
}

CommandLine usage(const std::string &message) {
  return leave(statusUsage, "moe-compile: error: " + message + "\nTry 'moe-compile --help'.\n");
}

CommandLine notYet(const std::string &what) {
  return leave(statusBadInput, "moe-compile: error: " + what + " is not supported by this version yet\n");
}

std::string join(const std::vector<std::string> &words) {
  std::string text;
  for (const std::string &word : words)
    text += (text.empty() ? "" : ", ") + word;
  return text;
}

/// A whole number that fits `Int`; nothing for any other text.
template <typename Int> std::optional<Int> parseNumber(const std::string &text) {
  Int number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || text[0] == '-')
    return std::nullopt;
  return number;
}

void declare(CLI::App &app, CompileOptions &options, RawOptions &raw, const std::vector<std::string> &phases) {
  // CLI11 2.1 splits at commas only when told so, one option at a time; and lists would take the words behind them.
  const char *io = "Input and output", *machine = "Machine", *model = "Model", *look = "Looking inside";
  app.add_option("MODEL", options.model, "checkpoint folder (config.json, *.safetensors), or an .mlir file; - is stdin")
      ->required();
  app.add_option("-o", options.output, "file to write; default: the model's name, in the current folder")
      ->type_name("OUT")
      ->group(io);
  app.add_option(
         "--emit", raw.emit,
         "default exe; shared comes with a C header; with --target=cuda, ptx, cubin, fatbin and llvm are the kernels")
      ->type_name("KIND")
      ->check(CLI::IsMember({"exe", "shared", "obj", "llvm", "mlir", "ptx", "cubin", "fatbin"}))
      ->group(io);
  app.add_option("--compile-to", options.compileTo,
                 "stop after a phase and print the IR (to OUT, else standard output)")
      ->type_name("PHASE")
      ->check(CLI::IsMember(phases))
      ->group(look);
  app.add_option(
         "--weights", raw.weights,
         "embed (default: appended to the output), external (OUT.weights beside it), random:SEED (embedded; needs "
         "only config.json)")
      ->type_name("HOW")
      ->group(io);
  app.add_option("--layers", raw.layers, "compile these MoE blocks, as entries moe.<L>, instead of the whole model")
      ->type_name("L[,L...]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->group(model);
  app.add_option("--numerics", raw.numerics, "default storage: activations in the checkpoint's format")
      ->type_name("MODE")
      ->check(CLI::IsMember({"storage", "f32"}))
      ->group(model);
  app.add_option("--quantize", options.quantize, "store the experts' weights as int8, int4, mxfp4 or fp8")
      ->type_name("FORMAT")
      ->group(model);
  app.add_option("--quantize-others", options.quantizeOthers,
                 "likewise the other matrices, but for the router: attention, dense and shared networks, output head")
      ->type_name("FORMAT")
      ->group(model);
  app.add_option("--target", raw.target, "default cpu; cuda: kernels for NVIDIA GPUs")
      ->type_name("TARGET")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->group(machine);
  app.add_option(
         "--cpu", options.cpu,
         "native (the best level of this machine only), generic, or levels, such as aarch64 for 64-bit Arm; default: "
         "all levels of this architecture, one is chosen at start-up")
      ->type_name("LEVEL[,...]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->group(machine);
  app.add_option("--tune-for", options.tuneFor,
                 "choose tile sizes for the machine in FILE (written by a compiled model's bench --calibrate), or for "
                 "this user's calibration: stored; default: a fixed machine, so that builds are the same everywhere")
      ->type_name("FILE")
      ->group(machine);
  app.add_option("--gpu-arch", raw.gpuArch,
                 "architectures of --target=cuda; default sm_80, whose PTX later ones run too")
      ->type_name("sm_XX[,...]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->group(machine);
  app.add_option("--run-on", raw.runOn, "with --target=cuda; host is the kernel emulator")
      ->type_name("WHERE")
      ->check(CLI::IsMember({"device", "host"}))
      ->group(machine);
  app.add_flag("--reference", options.reference, "lower by the reference semantics (slow, for comparing)")->group(look);
  app.add_flag("--report", options.report,
               "print what was fused, bytes, flops, memory, sizes, and predicted times of every stage")
      ->group(look);
  app.add_flag("--save-temps", options.saveTemps, "keep the IR after every phase and the object file beside OUT")
      ->group(look);
  app.add_flag("-v,--verbose", options.verbose, "say what is being done and how long it took")->group(look);
  app.add_flag("--version", raw.version, "print the version and leave")->group("Other");
}

} // namespace

/// What is wrong with the words of --cpu; empty if nothing is. `levels` has a list for each architecture.
static std::string checkCpu(const std::vector<std::string> &words,
                            const std::vector<std::vector<std::string>> &levels) {
  const std::vector<std::string> *architecture = nullptr;
  const std::string *first = nullptr;
  for (const std::string &word : words) {
    if (word == "native" || word == "generic") {
      if (words.size() > 1)
        return "--cpu=" + word + " stands alone";
      continue;
    }
    // The level for tests is not on offer, but taken, as one of x86-64.
    const std::string level = word == rt::emulatedAmxLevel ? "amx" : word;
    auto own = std::find_if(levels.begin(), levels.end(), [&](const std::vector<std::string> &names) {
      return std::find(names.begin(), names.end(), level) != names.end();
    });
    if (own == levels.end()) {
      std::vector<std::string> all;
      for (const std::vector<std::string> &names : levels)
        all.insert(all.end(), names.begin(), names.end());
      return "--cpu: expected native, generic or some of " + join(all) + " but got '" + word + "'";
    }
    if (architecture && architecture != &*own)
      return "--cpu: expected levels of one architecture but got '" + *first + "' and '" + word + "'";
    architecture = &*own;
    first = &word;
  }
  return {};
}

/// What goes together with a target, and what does not.
static std::optional<CommandLine> checkTarget(const CompileOptions &options, const RawOptions &raw) {
  bool kernels = options.emit == EmitKind::PTX || options.emit == EmitKind::Cubin || options.emit == EmitKind::Fatbin;
  if (options.target == TargetKind::CPU)
    return kernels ? std::optional(usage("--emit=" + raw.emit + " needs --target=cuda")) : std::nullopt;
  if (!options.cpu.empty())
    return usage("--cpu needs --target=cpu");
  if (options.emit != EmitKind::Fatbin && kernels && options.gpuArch.size() > 1)
    return usage("--emit=" + raw.emit + " is for one architecture; --emit=fatbin takes several");
  if (options.reference)
    return notYet("--reference with --target=cuda");
  return std::nullopt;
}

/// Checks what CLI11 cannot and turns words into values. Nothing if all is well.
static std::optional<CommandLine> translate(CompileOptions &options, const RawOptions &raw,
                                            const std::vector<std::vector<std::string>> &levels) {
  if (raw.target == "cuda") {
    options.target = TargetKind::CUDA;
    options.gpuArch = raw.gpuArch;
    if (options.gpuArch.empty())
      options.gpuArch = {"sm_80"};
    options.runOnHost = raw.runOn == "host";
  } else if (!raw.gpuArch.empty() || !raw.runOn.empty()) {
    return usage(std::string(raw.runOn.empty() ? "--gpu-arch" : "--run-on") + " needs --target=cuda");
  }
  for (auto [option, format] :
       {std::pair("--quantize", &options.quantize), std::pair("--quantize-others", &options.quantizeOthers)})
    if (!format->empty() && *format != "int8" && *format != "int4" && *format != "mxfp4" && *format != "fp8")
      return usage(std::string(option) + ": expected one of int8, int4, mxfp4, fp8 but got '" + *format + "'");

  static const std::map<std::string, EmitKind> kinds = {
      {"exe", EmitKind::Exe},   {"shared", EmitKind::Shared}, {"obj", EmitKind::Obj},     {"llvm", EmitKind::LLVM},
      {"mlir", EmitKind::MLIR}, {"ptx", EmitKind::PTX},       {"cubin", EmitKind::Cubin}, {"fatbin", EmitKind::Fatbin}};
  options.emit = kinds.at(raw.emit);
  options.numericsF32 = raw.numerics == "f32";

  if (std::optional<CommandLine> early = checkTarget(options, raw))
    return early;

  const std::string random = "random:";
  if (raw.weights.compare(0, random.size(), random) == 0) {
    std::optional<uint64_t> seed = parseNumber<uint64_t>(raw.weights.substr(random.size()));
    if (!seed)
      return usage("--weights=random:SEED: expected a whole number but got '" + raw.weights.substr(random.size()) +
                   "'");
    options.weights = WeightsMode::Random;
    options.seed = *seed;
  } else if (raw.weights == "external") {
    options.weights = WeightsMode::External;
  } else if (raw.weights != "embed") {
    return usage("--weights: expected embed, external or random:SEED but got '" + raw.weights + "'");
  }

  for (const std::string &text : raw.layers) {
    std::optional<int64_t> layer = parseNumber<int64_t>(text);
    if (!layer)
      return usage("--layers: expected numbers separated by commas but got '" + text + "'");
    options.layers.push_back(*layer);
  }
  if (std::string wrong = checkCpu(options.cpu, levels); !wrong.empty())
    return usage(wrong);
  if (options.output == "-" &&
      (options.emit == EmitKind::Exe || options.emit == EmitKind::Shared || options.emit == EmitKind::Cubin ||
       options.emit == EmitKind::Fatbin) &&
      (options.compileTo.empty() || options.compileTo == "binary"))
    return usage("-o -: an " + raw.emit + " cannot go to standard output");
  return std::nullopt;
}

CommandLine moe::parseCommandLine(int argc, const char *const *argv, const std::vector<std::string> &phases,
                                  const std::vector<std::vector<std::string>> &levels) {
  CommandLine result;
  RawOptions raw;
  CLI::App app("Compiles a Mixture-of-Experts model into one executable file.", "moe-compile");
  try {
    declare(app, result.options, raw, phases);
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp &) {
    return leave(0, app.help());
  } catch (const CLI::ParseError &error) {
    // --version asks for no model.
    if (raw.version || std::any_of(argv + 1, argv + argc, [](const char *a) { return std::string(a) == "--version"; }))
      return leave(0, "moe-compile " MOE_VERSION " (LLVM " MOE_LLVM_VERSION ")\n");
    return usage(error.what());
  } catch (const std::exception &error) {
    return usage(error.what());
  }
  if (raw.version)
    return leave(0, "moe-compile " MOE_VERSION " (LLVM " MOE_LLVM_VERSION ")\n");
  if (std::optional<CommandLine> early = translate(result.options, raw, levels))
    return *early;
  return result;
}
