// A fixed number of threads that apply one function to queued items, several at a time, in no particular order.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace paradigm {

// The work function must not throw; it and whatever it owns live until the last thread has left it.
template <class Item>
class ThreadPool {
  public:
    using Work = std::function<void(Item&)>;

    ThreadPool(int num_threads, Work work) : state_(std::make_shared<State>()) {
        if (num_threads < 1) throw std::invalid_argument("threads must be >= 1, got " + std::to_string(num_threads));
        state_->work = std::move(work);
        state_->num_threads = num_threads;
        for (int i = 0; i < num_threads; ++i) threads_.emplace_back([state = state_] { run(*state); });
    }
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;
    ~ThreadPool() { close(std::chrono::milliseconds(500)); }

    void submit(const std::vector<Item>& items) {
        if (items.empty()) return;
        {
            std::lock_guard<std::mutex> lock(state_->mutex);
            state_->queue.insert(state_->queue.end(), items.begin(), items.end());
        }
        if (items.size() == 1) {
            state_->wake.notify_one();
        } else {
            state_->wake.notify_all();
        }
    }

    // Takes one item and works on it in the calling thread; returns whether there was one.
    bool help() {
        Item item;
        {
            std::lock_guard<std::mutex> lock(state_->mutex);
            if (state_->queue.empty()) return false;
            item = state_->queue.front();
            state_->queue.pop_front();
        }
        state_->work(item);
        return true;
    }

    // Drops what is queued and joins the threads. A thread still inside the work function after `grace` is let go: it ends by itself
    // when that call returns. Returns whether all were joined.
    bool close(std::chrono::milliseconds grace) {
        std::unique_lock<std::mutex> lock(state_->mutex);
        if (threads_.empty()) return state_->num_left == state_->num_threads;
        state_->stopping = true;
        state_->queue.clear();
        state_->wake.notify_all();
        const bool all_left = state_->left.wait_for(lock, grace, [this] { return state_->num_left == state_->num_threads; });
        lock.unlock();
        for (std::thread& thread : threads_) {
            if (all_left) {
                thread.join();
            } else {
                thread.detach();
            }
        }
        threads_.clear();
        return all_left;
    }

  private:
    struct State {
        std::mutex mutex;
        std::condition_variable wake, left;
        std::deque<Item> queue;
        Work work;
        bool stopping = false;
        int num_threads = 0, num_left = 0;
    };

    static void run(State& state) {
        std::vector<Item> taken;
        std::unique_lock<std::mutex> lock(state.mutex);
        while (true) {
            state.wake.wait(lock, [&state] { return state.stopping || !state.queue.empty(); });
            if (state.stopping) break;
            // Short items are worth taking by the handful; half a fair share leaves the rest to the other threads.
            const std::size_t share = state.queue.size() / (2 * static_cast<std::size_t>(state.num_threads));
            const std::size_t count = std::clamp<std::size_t>(share, 1, 16);
            taken.assign(state.queue.begin(), state.queue.begin() + static_cast<std::ptrdiff_t>(count));
            state.queue.erase(state.queue.begin(), state.queue.begin() + static_cast<std::ptrdiff_t>(count));
            lock.unlock();
            for (Item& item : taken) state.work(item);
            lock.lock();
        }
        ++state.num_left;
        state.left.notify_all();
    }

    std::shared_ptr<State> state_;
    std::vector<std::thread> threads_;
};

}  // namespace paradigm
